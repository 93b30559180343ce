"""A run on the command line that Prefect records: the flow while its server is there, the engine alone after that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect.context import AsyncClientContext, tags
from prefect.states import Completed, Failed

from flows.opening import begin
from flows.stopping import DROP_LIMIT
from flows.sync import sync
from imageferry import words
from imageferry.concurrency import until_stopped
from imageferry.report import Report
from tasks.current import Current
from tasks.history import drain, end_flow_run
from tasks.hosts import hosts

if TYPE_CHECKING:
    import asyncio

    from flows.command import Request
    from imageferry.copy.ferry import Ferry
    from imageferry.terminal.progress import LineProgress, LiveProgress


@dataclass(frozen=True)
class Recorded:
    """A run's report, and in words what Prefect has not recorded of it; empty where it has all."""

    report: Report
    missing: str


async def record(
    request: Request, ferry: Ferry, stop: asyncio.Event, progress: LiveProgress | LineProgress
) -> Recorded:
    """Run the flow, and whatever becomes of Prefect's server, copy every image."""
    run = begin(ferry, stop)
    async with run.watch.kept():
        identity = await _flow(request, run)
        if not stop.is_set():
            # Nothing, where the flow has run to its end.
            await until_stopped(stop, run.runner.run(ferry.configuration.rules), DROP_LIMIT)
        # Nothing, where all was reached: what is left out of a report would pass for copied.
        ferry.give_up_rest(ferry.configuration.rules)
        report = ferry.outcomes.report("cancelled" if stop.is_set() else None, identity)

        def say(recorded: int, awaited: int) -> None:
            progress.say(f"Prefect's server has recorded {recorded:,} of {words.count(awaited, 'task run')}")

        await until_stopped(stop, run.history.complete(say), 1.0, grace=2.0)
        await drain(run.watch)
    if identity is not None and run.watch.gone and not stop.is_set():
        summary = f"{report.summary}; history incomplete: {run.watch.why}"
        await end_flow_run(identity, (Failed if report.totals.failed else Completed)(message=summary))
    return Recorded(report, _missing(run, identity))


async def _flow(request: Request, run: Current) -> str | None:
    """Run the flow as far as Prefect's server lets it; give the flow run's id where there is one."""
    try:
        # One client of Prefect's for all: each reads the system's authorities anew.
        context = AsyncClientContext()
        run.watch.guard(context.client)
        async with context:
            # Tags that are there from the start cost no request.
            with tags(*hosts(run.ferry.configuration.rules)):
                state = await sync(
                    config=request.described,
                    dry_run=request.dry_run,
                    force=request.force,
                    platforms=[str(platform) for platform in request.platforms.platforms] or None,
                    distribute=request.distribute,
                    return_state=True,
                )
    except Exception as error:
        # Prefect's own: what the flow does itself never comes out of it.
        run.watch.lose(str(error) or type(error).__name__)
        return run.flow_run_id
    if not state.is_final():
        run.watch.lose(f"it has left the flow run {state.name}")
    return str(state.state_details.flow_run_id)


def _missing(run: Current, identity: str | None) -> str:
    if identity is None:
        return f"no run: {run.watch.why}"
    return "; ".join(part for part in (run.watch.why, run.history.missing) if part)
