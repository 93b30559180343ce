"""The engine for a flow: the one that its caller has opened, or one of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from typing import Any

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, TagsContext

from imageferry.concurrency import until_stopped
from imageferry.copy.blob_move import BlobMover
from imageferry.copy.engine import Engine
from imageferry.copy.options import DEFAULT_PROC, DEFAULT_RETRIES, Options
from imageferry.selection import PlatformFilter
from orchestration.artifacts.progress import show_progress
from orchestration.blocks.stored import read_configuration
from orchestration.log_filter import drop_known_tracebacks
from orchestration.run_context import RunContext, find_current, set_current
from orchestration.settings import settings

#: Seconds in which Prefect is told of the end once a run is stopped.
LAST_WORDS_LIMIT = 6.0


@contextlib.asynccontextmanager
async def open_run(
    config: str,
    mover: BlobMover,
    *,
    force: bool = False,
    dry_run: bool = False,
    platforms: Sequence[str] | None = None,
    proc: int = DEFAULT_PROC,
    retries: int = DEFAULT_RETRIES,
    rule: str | None = None,
    images: Sequence[str] | None = None,
) -> AsyncIterator[RunContext]:
    """Give the run of this context, or open one for the configuration and close it at the end.

    One of its own has all rules, or this one alone and of it these images (None: all). Raises ``ConfigurationError``
    for one that cannot be used, ``SettingsError``, and ``RuleNotFound`` where it has no such rule or image.
    """
    drop_known_tracebacks()
    run = find_current()
    if run is not None:
        run.reinstall_signal_handler()
        async with _within(run):
            yield run
        return
    wanted = PlatformFilter.parse(platforms or ())
    # Their faults are told before anything is done.
    settings()
    options = Options(proc=proc, retries=retries, force=force, dry_run=dry_run, platforms=wanted)
    configuration = await read_configuration(config)
    if rule is not None:
        configuration = configuration.only(rule, images)
    async with Engine(configuration, options, mover=mover) as engine:
        run = bind_engine(engine, asyncio.Event())
        # The client of the flow run, which Prefect has opened before.
        run.monitor.guard(get_client())
        async with run.monitor.monitoring():
            with _stopped_by_signal(run):
                async with _within(run):
                    yield run


@contextlib.asynccontextmanager
async def _within(run: RunContext) -> AsyncIterator[None]:
    """Have the run's progress shown, and keep the flow run's tags from its tasks, which pay a request for each."""
    with TagsContext(current_tags=set()):
        async with show_progress(run):
            yield


def bind_engine(engine: Engine, stop: asyncio.Event) -> RunContext:
    """Make this engine the one of the run."""
    run = RunContext(engine, stop)
    set_current(run)
    return run


@contextlib.contextmanager
def _stopped_by_signal(run: RunContext) -> Iterator[None]:
    """Let SIGTERM stop the run in order, as a worker sends it to cancel a flow run: Prefect's own way drops all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    loop = asyncio.get_running_loop()
    run.reinstall_signal_handler = functools.partial(loop.add_signal_handler, signal.SIGTERM, run.stop.set)
    run.reinstall_signal_handler()
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


def is_root_run() -> bool:
    """Whether the flow run of this context has no parent, which would report for it."""
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.parent_task_run_id is None


async def run_until_stopped(
    run: RunContext, rules: list[str], work: Coroutine[Any, Any, None], *, grace: float = 0.0
) -> bool:
    """Do the work on these rules unless the run is stopped; then what is under way is dropped, and the rest has failed.

    ``grace`` is for work that stops by itself, in seconds. Gives whether it was stopped.
    """
    hurrying = asyncio.create_task(_hurry_once_stopped(run))
    try:
        stopped = await until_stopped(run.stop, work, grace=grace)
    finally:
        hurrying.cancel()
    if stopped:
        wanted = set(rules)
        run.engine.give_up_rest(rule for rule in run.engine.configuration.rules if rule.name in wanted)
    return stopped


async def _hurry_once_stopped(run: RunContext) -> None:
    await run.stop.wait()
    run.monitor.set_deadline(LAST_WORDS_LIMIT)
