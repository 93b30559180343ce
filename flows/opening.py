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
from prefect.runtime import flow_run

from flows.stopping import DROP_LIMIT
from flows.stored import configuration_of
from imageferry.concurrency import until_stopped
from imageferry.copy.ferry import Ferry
from imageferry.copy.options import DEFAULT_PROC, DEFAULT_RETRIES, Options
from imageferry.copy.parts import narrowed
from imageferry.selection import PlatformFilter
from tasks.blobs import move
from tasks.current import Current, find_current, set_current
from tasks.logs import drop_known_tracebacks
from tasks.plan import plan_all, plan_rules
from tasks.progress import shown
from tasks.report import publish_report
from tasks.settings import settings
from tasks.steps import step

#: Seconds in which Prefect is told of the end once a run is stopped.
LAST_WORDS_LIMIT = 6.0


@contextlib.asynccontextmanager
async def opened(
    config: str,
    *,
    force: bool = False,
    dry_run: bool = False,
    platforms: Sequence[str] | None = None,
    proc: int = DEFAULT_PROC,
    retries: int = DEFAULT_RETRIES,
    rule: str | None = None,
    images: Sequence[str] | None = None,
) -> AsyncIterator[Current]:
    """Give the run of this context, or open one for the configuration and close it at the end.

    One of its own has all rules, or this one alone and of it these images (None: all). Raises ``ConfigurationError``
    for one that cannot be used, ``SettingsError``, and ``PartError`` where it has no such rule or image.
    """
    drop_known_tracebacks()
    run = find_current()
    if run is not None:
        run.take_signals()
        async with _within(run):
            yield run
        return
    wanted = PlatformFilter.parse(platforms or ())
    # Their faults are told before anything is done.
    settings()
    options = Options(proc=proc, retries=retries, force=force, dry_run=dry_run, platforms=wanted)
    configuration = await configuration_of(config)
    if rule is not None:
        configuration = narrowed(configuration, rule, images)
    async with Ferry(configuration, options) as ferry:
        run = begin(ferry, asyncio.Event())
        # The client of the flow run, which Prefect has opened before.
        run.watch.guard(get_client())
        async with run.watch.kept():
            with _stopped_by_signal(run):
                async with _within(run):
                    yield run


@contextlib.asynccontextmanager
async def _within(run: Current) -> AsyncIterator[None]:
    """Have the run's progress shown, and keep the flow run's tags from its tasks, which pay a request for each."""
    with TagsContext(current_tags=set()):
        async with shown(run):
            yield


def begin(ferry: Ferry, stop: asyncio.Event) -> Current:
    """Make this engine the one of the run, with its blobs moved as tasks."""
    ferry.deliveries.move = move
    run = Current(ferry, stop)
    set_current(run)
    return run


@contextlib.contextmanager
def _stopped_by_signal(run: Current) -> Iterator[None]:
    """Let SIGTERM stop the run in order, as a worker sends it to cancel a flow run: Prefect's own way drops all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    loop = asyncio.get_running_loop()
    run.take_signals = functools.partial(loop.add_signal_handler, signal.SIGTERM, run.stop.set)
    run.take_signals()
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


async def planned(run: Current, rules: list[str]) -> None:
    """Plan rules, in a task run where Prefect can give one."""

    async def without() -> None:
        await plan_all(run, rules)

    await step(run, lambda: plan_rules(rules), without)


async def reported(run: Current) -> None:
    """Leave the report in Prefect, where it can be left there."""

    async def published() -> None:
        await publish_report(str(flow_run.id), return_state=True)  # type: ignore[misc] # Prefect types it as not awaited

    async def without() -> None:
        """Leave the report to the caller."""

    await step(run, published, without)


def stands_alone() -> bool:
    """Whether the flow run of this context has no parent, which would report for it."""
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.parent_task_run_id is None


async def stopped_early(run: Current, rules: list[str], work: Coroutine[Any, Any, None], *, grace: float = 0.0) -> bool:
    """Do the work on these rules unless the run is stopped; then what is under way is dropped, and the rest has failed.

    ``grace`` is for work that stops by itself, in seconds. Gives whether it was stopped.
    """
    hurrying = asyncio.create_task(_hurry_once_stopped(run))
    try:
        stopped = await until_stopped(run.stop, work, DROP_LIMIT, grace=grace)
    finally:
        hurrying.cancel()
    if stopped:
        wanted = set(rules)
        run.ferry.give_up_rest(rule for rule in run.ferry.configuration.rules if rule.name in wanted)
    return stopped


async def _hurry_once_stopped(run: Current) -> None:
    await run.stop.wait()
    run.watch.hurry(LAST_WORDS_LIMIT)
