"""Opens the run of a flow, or joins the one that its caller offers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
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
from orchestration.run_context import RunContext
from orchestration.settings import settings
from orchestration.termination import install_handler, stopped_by_sigterm

# Seconds in which the end of a stopped run is recorded in Prefect.
LAST_WORDS_LIMIT = 6.0


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
async def open_run(request: RunRequest, mover: BlobMover) -> AsyncIterator[RunContext]:
    """Open a run for the request, enter it, and close it at the end.

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
        run = RunContext(engine)
        # The client of the flow run, which Prefect has opened before.
        run.monitor.guard(get_client())
        async with run.monitor.monitoring():
            with stopped_by_sigterm(run.stop) as handles_signals:
                if handles_signals:
                    run.reinstall_signal_handler = install_handler
                async with join_run(run):
                    yield run


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
