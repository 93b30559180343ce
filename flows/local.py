"""A run on the command line: a Prefect server where there is none, the flow, and what it leaves."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console

from flows.settings import CLIENT_DEFAULTS, set_defaults
from flows.status import DONE, FAILED, INTERRUPTED
from imageferry import words
from imageferry.config import Configuration
from imageferry.copy.ferry import Ferry
from imageferry.report import ImageOutcome, Outcome, Report
from imageferry.terminal import files, summary
from imageferry.terminal.progress import LineProgress, LiveProgress, line, progress_for

if TYPE_CHECKING:
    from flows.command import Request
    from tasks.current import Current

logger = logging.getLogger("imageferry")

Progress = LiveProgress | LineProgress

#: Waits until Prefect's server is ready; tells of the seconds waited.
Wait = Callable[[Callable[[float], None]], None]


def run(request: Request, configuration: Configuration, wait: Wait) -> int:
    """Run the flow for what the command line asks, once Prefect's server has been waited for; give the exit status.

    Raises ``ServerError``.
    """
    prepare(request)
    progress = progress_for(sys.stderr, quiet=request.quiet)
    with progress.running():
        report, missing = _run_beside_server(request, configuration, progress, wait)
    if missing:
        print(f"imageferry: Prefect's server has not recorded {words.count(missing, 'task run')}", file=sys.stderr)
    try:
        _write(request, report)
    except OSError as error:
        print(f"imageferry: cannot write {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILED
    return {"completed": DONE, "cancelled": INTERRUPTED}.get(report.status, FAILED)


def _run_beside_server(
    request: Request, configuration: Configuration, progress: Progress, wait: Wait
) -> tuple[Report, int]:
    """Let the registries be asked while Prefect's server comes up and prefect is imported, then run the flow.

    The event loop has a thread of its own; the main thread keeps the signals: Prefect would end the process at SIGTERM.
    """
    ready: concurrent.futures.Future[None] = concurrent.futures.Future()
    stopping = _Stopping(ready)
    with stopping.on_signals(), concurrent.futures.ThreadPoolExecutor(1, "imageferry") as thread:
        running = thread.submit(asyncio.run, _sync(request, configuration, progress, stopping, ready))
        try:
            _import_flow()
            wait(lambda seconds: progress.say(_starting(seconds)))
            progress.say("")
        except BaseException:
            ready.cancel()
            raise
        if not ready.cancelled():
            ready.set_result(None)
        return running.result()


def _import_flow() -> None:
    """Import the flow, which takes seconds, and what Prefect otherwise imports when the first flow begins."""
    import fastapi.encoders  # noqa: F401, PLC0415
    import prefect.flow_engine  # noqa: PLC0415
    import prefect.task_engine  # noqa: F401, PLC0415

    import flows.sync  # noqa: F401, PLC0415

    gc.freeze()
    gc.enable()


def prepare(request: Request) -> None:
    """Set what prefect reads when it is imported."""
    set_defaults(os.environ, CLIENT_DEFAULTS | _console_level(request))


def _console_level(request: Request) -> dict[str, str]:
    # The summary tells what failed: Prefect's own lines about it are for those who ask for them.
    level = request.log_level.upper() if request.log_level and request.log is None else "CRITICAL"
    return {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": level}


def _starting(seconds: float) -> str:
    first = " (the first start makes its database)" if seconds > 10 else ""
    return f"starting Prefect's server, {words.duration(seconds)}{first}"


class _Stopping:
    """Stops the run at the first signal, and the process at the second."""

    def __init__(self, ready: concurrent.futures.Future[None]) -> None:
        self._ready = ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._run: Current | None = None
        self._asked = False

    def stops(self, run: Current) -> None:
        """Say which run is to be stopped, from within its loop."""
        self._loop, self._run = asyncio.get_running_loop(), run

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take the signals that end a run while the context is entered."""
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            os._exit(INTERRUPTED)
        self._asked = True
        if self._loop is not None and self._run is not None:
            self._loop.call_soon_threadsafe(self._run.stop.set)
        else:
            self._ready.cancel()


async def _sync(
    request: Request,
    configuration: Configuration,
    progress: Progress,
    stopping: _Stopping,
    ready: concurrent.futures.Future[None],
) -> tuple[Report, int]:
    """Plan, and once prefect is ``ready`` run the flow; give the report, and how many task runs are not recorded."""
    async with Ferry(configuration, request.options) as ferry:
        ferry.outcomes.listeners.append(_log)
        progress.watch(ferry.outcomes)
        planning = asyncio.create_task(ferry.plan_all(configuration.rules))
        try:
            await asyncio.wrap_future(ready)
        except asyncio.CancelledError:
            planning.cancel()
            return ferry.outcomes.report("cancelled"), 0
        return await _flow(request, ferry, progress, stopping)


async def _flow(request: Request, ferry: Ferry, progress: Progress, stopping: _Stopping) -> tuple[Report, int]:
    from prefect.context import AsyncClientContext  # noqa: PLC0415 - they import prefect

    from flows.opening import begin  # noqa: PLC0415
    from flows.sync import sync  # noqa: PLC0415
    from tasks.history import drain  # noqa: PLC0415

    _log_to(request)
    run = begin(ferry)
    stopping.stops(run)
    # One client of Prefect's for all: each reads the system's authorities anew.
    async with AsyncClientContext.get_or_create():
        state = await sync(
            config=request.described,
            dry_run=request.dry_run,
            force=request.force,
            platforms=[str(platform) for platform in request.platforms.platforms] or None,
            return_state=True,
        )
        status = state.type.value.lower()
        if status not in ("completed", "failed", "cancelled"):
            print(f"imageferry: the run ended unexpectedly: {state.message}", file=sys.stderr)
        report = ferry.outcomes.report(status, str(state.state_details.flow_run_id))

        def say(recorded: int, awaited: int) -> None:
            progress.say(f"Prefect's server has recorded {recorded:,} of {words.count(awaited, 'task run')}")

        missing = await run.history.complete(say)
    await drain()
    return report, missing


def _log_to(request: Request) -> None:
    """Send the engine's log to the file, or to standard error. Called after prefect has set up logging."""
    level = (request.log_level or ("info" if request.log else "warning")).upper()
    handler = logging.FileHandler(request.log) if request.log else logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    handler.setLevel(level)
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(min(logging.getLevelName(level), logging.INFO))
    if request.log:
        logging.getLogger().addHandler(handler)


def _log(image: ImageOutcome) -> None:
    level = logging.DEBUG if image.outcome is Outcome.UP_TO_DATE else logging.INFO

    logger.log(level, "%s", line(image))


def _write(request: Request, report: Report) -> None:
    to_stdout = request.report is not None and str(request.report) == "-"
    if request.report:
        files.write_report(report, request.report)
    if request.output_success_images:
        files.write_copied(report, request.output_success_images, request.output_images_format)
    if request.output_failed_images:
        files.write_failed(report, request.output_failed_images, request.output_images_format)
    summary.show(report, Console(stderr=to_stdout, highlight=False))
