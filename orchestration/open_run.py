"""Opens the run of a flow, or joins the one that its caller offers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from anyio import CancelScope
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, TagsContext

from imageferry.concurrency import until_stopped
from imageferry.copy.blob_move import BlobMover
from imageferry.copy.engine import Engine
from imageferry.copy.options import DEFAULT_PROC, DEFAULT_RETRIES, Options
from imageferry.selection import PlatformFilter
from orchestration.artifacts.progress import show_progress
from orchestration.blocks.stored import read_configuration
from orchestration.final_states import set_final_states
from orchestration.log_filter import drop_known_tracebacks
from orchestration.run_context import RunContext
from orchestration.settings import settings
from orchestration.termination import install_handler, stopped_by_sigterm

logger = logging.getLogger("imageferry.history")

# Seconds in which a server that was lost may come back for the end of the run: as long as Prefect's own client tries.
BACK_LIMIT = 60.0

# Seconds in which the end of a stopped run is recorded in Prefect.
LAST_WORDS_LIMIT = 6.0

# Seconds in which a run ends that exceeds the time of its flow: its work, then its report.
END_LIMIT = 2 * LAST_WORDS_LIMIT

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the parameters of a flow ask for. ``rule``: this one alone, and of it ``images`` (None: all).

    ``withheld`` are names at destinations that are left alone.
    """

    config: str
    force: bool = False
    dry_run: bool = False
    platforms: Sequence[str] | None = None
    proc: int = DEFAULT_PROC
    retries: int = DEFAULT_RETRIES
    rule: str | None = None
    images: Sequence[str] | None = None
    withheld: Sequence[str] | None = None


@contextlib.asynccontextmanager
async def open_run(request: RunRequest, mover: BlobMover, stop: asyncio.Event) -> AsyncIterator[RunContext]:
    """Open a run for the request, which ``stop`` stops; enter it, and close it at the end.

    Raises ``ConfigurationError`` for a configuration that cannot be used, ``SettingsError``, and ``RuleNotFound`` where
    it has no such rule or image.
    """
    drop_known_tracebacks()
    wanted = PlatformFilter.parse(request.platforms or ())
    # Wrong settings are reported before anything is done.
    settings()
    options = Options(
        proc=request.proc,
        retries=request.retries,
        force=request.force,
        dry_run=request.dry_run,
        platforms=wanted,
        withheld=frozenset(request.withheld or ()),
    )
    configuration = await read_configuration(request.config)
    if request.rule is not None:
        configuration = configuration.only(request.rule, request.images)
    async with Engine(configuration, options, mover=mover) as engine:
        run = RunContext(engine, stop)
        # The client of the flow run, which Prefect has opened before.
        run.monitor.guard(get_client())
        async with run.monitor.monitoring():
            with stopped_by_sigterm(run.stop) as handles_signals:
                if handles_signals:
                    run.reinstall_signal_handler = install_handler
                async with join_run(run):
                    yield run
        if run.monitor.lost and not run.stop.is_set():
            await _end_without_server(run)


async def _end_without_server(run: RunContext) -> None:
    """End what Prefect's engine could not. It sets the state of this flow run itself, if the server is back by then.

    If not, it would raise what its client does, whatever was copied: a process of its own ends by that instead.
    """
    if await set_final_states(run, BACK_LIMIT):
        return
    context = FlowRunContext.get()
    identity = context and context.flow_run and str(context.flow_run.id)
    if identity and os.environ.get("PREFECT__FLOW_RUN_ID") == identity:
        totals = run.engine.outcomes.report().totals
        logger.warning("Prefect's server does not know the end of this run: %s", run.engine.outcomes.report().summary)
        logging.shutdown()
        os._exit(1 if totals.failed else 0)


@contextlib.asynccontextmanager
async def join_run(run: RunContext) -> AsyncIterator[RunContext]:
    """Enter a run in a flow: its own, or the one that its caller offers it.

    The run's progress is shown, and the flow run's tags are kept from its tasks, which would pay a request for each.
    """
    drop_known_tracebacks()
    run.reinstall_signal_handler()
    with run.entered(), TagsContext(current_tags=set()):
        async with show_progress(run):
            yield run


async def end_in_order(stop: asyncio.Event, work: Coroutine[Any, Any, Result]) -> Result:
    """Do a flow's work, all that opens and closes its run included; stop it in order where Prefect cancels the flow.

    That is so when it exceeds its ``timeout_seconds``. Prefect cancels whatever the flow awaits, again and again: what
    is to end in order is done in a task of its own, and awaited where that does not reach.
    """
    working = asyncio.create_task(work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        if not working.done():
            stop.set()
            with CancelScope(shield=True):
                await asyncio.wait({working}, timeout=END_LIMIT)
        raise
    finally:
        working.cancel()


def is_root_run() -> bool:
    """Whether the flow run of this context has no parent, which would report for it."""
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.parent_task_run_id is None


async def run_until_stopped(
    run: RunContext, rules: list[str], work: Coroutine[Any, Any, None], *, grace: float = 0.0
) -> bool:
    """Do the work on these rules unless the run is stopped; then active work is dropped, and the rest has failed.

    ``grace`` is for work that stops by itself, in seconds. Return whether it was stopped.
    """
    waiting = asyncio.create_task(_set_deadline_once_stopped(run))
    try:
        stopped = await until_stopped(run.stop, work, grace=grace)
    finally:
        waiting.cancel()
    if stopped:
        wanted = set(rules)
        run.engine.give_up_rest(rule for rule in run.engine.configuration.rules if rule.name in wanted)
    return stopped


async def _set_deadline_once_stopped(run: RunContext) -> None:
    await run.stop.wait()
    run.monitor.set_deadline(LAST_WORDS_LIMIT)
