"""A run on the command line: a Prefect server where there is none, the flow, and what it leaves."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console

from cli.exit_codes import DONE, FAILED, INTERRUPTED
from cli.log_file import LogFile
from cli.outputs import describe_unwritten, write_outputs
from cli.result import RunResult
from cli.signals import SignalStop
from cli.terminal import summary
from cli.terminal.progress import LineProgress, LiveProgress, format_line, progress_for
from imageferry.concurrency import until_stopped
from imageferry.copy.blob_move import BlobMove
from imageferry.copy.engine import Engine
from imageferry.copy.runner import LocalRunner
from imageferry.model import Configuration
from imageferry.report import files
from imageferry.report.outcomes import ImageOutcome, Outcome, Report, Status
from imageferry.text import escape_control, format_duration
from orchestration.server.own_server import ServerError, SetupError
from orchestration.server.prefect_import import prefect_settings_checked
from orchestration.server.prefect_settings import CLIENT_DEFAULTS, prefect_home, set_defaults

if TYPE_CHECKING:
    from cli.request import Request

logger = logging.getLogger("imageferry")

Progress = LiveProgress | LineProgress

# Seconds between two checks of the main thread for a signal: one that the system gave to another thread, or that came
# as the wait began, does not end a wait.
CHECK_SIGNALS_EVERY = 0.5

# Waits until Prefect's server is ready; calls its argument with the seconds waited.
Wait = Callable[[Callable[[float], None]], None]


def run(request: Request, configuration: Configuration, wait: Wait | None) -> int:
    """Do what the command line asks; return the exit status.

    With the flow, once Prefect's server has been waited for; without ``wait``, the engine alone. Raises
    ``SetupError``.
    """
    progress = progress_for(sys.stderr, quiet=request.quiet)
    log = LogFile(request.log) if request.log else None
    with progress.running():
        result = CommandRun(request, configuration, progress, wait, log).result()
    if result.missing:
        print(f"imageferry: Prefect's history of this run is incomplete: {result.missing}", file=sys.stderr)
    report = result.report
    problems = write_outputs(request, report)
    if log is not None and log.failure is not None:
        problems.append(describe_unwritten("--log", log.path, log.failure))
    to_stderr = request.report is not None and files.is_standard_output(request.report)
    summary.print_summary(report, Console(stderr=to_stderr, highlight=False))
    for problem in problems:
        print(f"imageferry: {problem}", file=sys.stderr)
    if problems and report.status is Status.COMPLETED:
        return FAILED
    return {Status.COMPLETED: DONE, Status.CANCELLED: INTERRUPTED}.get(report.status, FAILED)


class CommandRun:
    """A run whose event loop has a thread of its own; the main thread keeps the signals.

    So the registries are asked while Prefect's server comes up and prefect is imported here; and Prefect does not see
    SIGTERM, at which it would end the process.
    """

    def __init__(
        self,
        request: Request,
        configuration: Configuration,
        progress: Progress,
        wait: Wait | None,
        log: LogFile | None = None,
    ) -> None:
        self._request = request
        self._log = log
        self._configuration = configuration
        self._progress = progress
        self._wait = wait
        self._signals = SignalStop()
        # Why there is no history, in words; empty where Prefect's server is ready.
        self._ready: concurrent.futures.Future[str] = concurrent.futures.Future()
        self._result: concurrent.futures.Future[RunResult] = concurrent.futures.Future()

    def result(self) -> RunResult:
        """Run, and return what the run leaves. Raises ``SetupError``."""
        # What hangs as the loop ends must not keep the process: the run has its result before that.
        threading.Thread(target=self._loop, name="imageferry", daemon=True).start()
        with self._signals.on_signals():
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                # A run that was stopped does not wait for it any more.
                try:
                    self._ready.set_result(self._make_ready())
                except BaseException as error:
                    self._ready.set_exception(error)
            while not self._result.done():
                concurrent.futures.wait([self._result], timeout=CHECK_SIGNALS_EVERY)
            return self._result.result()

    def _make_ready(self) -> str:
        """Import prefect and wait for its server, unless the run is stopped meanwhile; say why there is none.

        Raises ``SetupError``.
        """
        if self._wait is None:
            gc.enable()
            _log_to(self._request, self._log)
            return ""
        prepare(self._request)

        def on_wait(seconds: float) -> None:
            self._progress.say(_starting(seconds))
            if self._signals.requested:
                raise _StoppedEarly

        why = ""
        try:
            _import_flow()
            self._wait(on_wait)
        except SetupError:
            raise
        except ServerError as error:
            # Data first, history second.
            why = str(error)
        except OSError as error:
            raise SetupError(f"Prefect cannot use its folder {prefect_home(os.environ)}: {error}") from None
        except _StoppedEarly:
            return ""
        finally:
            self._progress.say("")
        _log_to(self._request, self._log)
        return why

    def _loop(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            if not self._result.done():
                self._result.set_exception(error)

    async def _main(self) -> None:
        stop = self._signals.event()
        mover = None if self._wait is None else _move_as_task
        async with Engine(self._configuration, self._request.options, mover=mover) as engine:
            engine.outcomes.listeners.append(_log)
            engine.outcomes.note_listeners.append(_log_note)
            self._progress.watch(engine.outcomes)
            result = await (self._run_alone(engine, stop) if self._wait is None else self._run_recorded(engine, stop))
        self._result.set_result(result)

    async def _run_alone(self, engine: Engine, stop: asyncio.Event) -> RunResult:
        """Let the engine do it all."""
        runner = LocalRunner(engine)
        stopped = await until_stopped(stop, runner.run(self._configuration.rules))
        return RunResult(self._report(engine, stopped=stopped))

    async def _run_recorded(self, engine: Engine, stop: asyncio.Event) -> RunResult:
        """Plan, and once prefect is ready run the flow."""
        planning = asyncio.create_task(engine.plan_all(self._configuration.rules))

        why = ""

        async def ready() -> None:
            nonlocal why
            why = await asyncio.wrap_future(self._ready)

        if await until_stopped(stop, ready()):
            planning.cancel()
            return RunResult(self._report(engine, stopped=True))
        from cli.recorded_run import run_recorded  # noqa: PLC0415 - it imports prefect

        return await run_recorded(self._request, engine, stop, self._progress, why)

    def _report(self, engine: Engine, *, stopped: bool) -> Report:
        # Nothing, if all was reached: what is left out of a report would pass for copied.
        engine.give_up_rest(self._configuration.rules)
        return engine.outcomes.report(Status.CANCELLED if stopped else None)


async def _move_as_task(move: BlobMove) -> None:
    """Move a blob as Prefect records it; nothing moves before prefect is imported."""
    from tasks.copy_blob import move_blob  # noqa: PLC0415 - it imports prefect

    await move_blob(move)


class _StoppedEarly(Exception):
    """The run was stopped before Prefect's server was ready."""


def _import_flow() -> None:
    """Import the flow, which takes seconds, and what Prefect otherwise imports when the first flow begins.

    Raises ``SetupError`` for settings that Prefect refuses.
    """
    with prefect_settings_checked():
        import cli.recorded_run  # noqa: F401, PLC0415
        from orchestration.server.internals import preload_engines  # noqa: PLC0415

        preload_engines()
    # Log lines that Prefect could not send would be errors between the lines of the run, which reports them at its end.
    logging.raiseExceptions = False
    gc.freeze()
    gc.enable()


def prepare(request: Request) -> None:
    """Set what prefect reads when it is imported."""
    set_defaults(os.environ, CLIENT_DEFAULTS | _log_levels(request))


def _log_levels(request: Request) -> dict[str, str]:
    if request.log_level and request.log is None:
        return {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": request.log_level.upper()}
    # The summary says what failed, and the end what Prefect has not recorded: Prefect's own lines about that, one for
    # each event that it could not send, are for those who ask for them.
    return {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL"}


def _starting(seconds: float) -> str:
    first = " (the first start makes its database)" if seconds > 10 else ""
    return f"starting Prefect's server, {format_duration(seconds)}{first}"


def _log_to(request: Request, file: LogFile | None) -> None:
    """Send the engine's log to the file, or to standard error. Called after prefect has set up logging."""
    level = (request.log_level or ("info" if request.log else "warning")).upper()
    handler: logging.Handler = file or logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    handler.setLevel(level)
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(min(logging.getLevelName(level), logging.INFO))
    if file is not None:
        logging.getLogger().addHandler(handler)


def _log(image: ImageOutcome) -> None:
    level = logging.DEBUG if image.outcome is Outcome.UP_TO_DATE else logging.INFO
    # The tasks in which images fail log that to Prefect.
    logger.log(level, "%s", format_line(image), extra={"send_to_api": image.outcome is not Outcome.FAILED})


def _log_note(text: str) -> None:
    # The flow logs it to Prefect.
    logger.info("%s", escape_control(text), extra={"send_to_api": False})
