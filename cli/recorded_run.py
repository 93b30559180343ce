"""A run on the command line that Prefect records: the flow while its server is there, the engine alone after that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.client.schemas.objects import State
from prefect.context import AsyncClientContext, tags
from prefect.states import Completed, Failed

from cli.result import RunResult
from flows.sync import sync
from imageferry.concurrency import until_stopped
from imageferry.report.outcomes import Status
from imageferry.text import format_count
from orchestration.artifacts.run_tags import registry_tags
from orchestration.final_states import set_final_states
from orchestration.run_context import RunContext
from orchestration.server.client_call import describe_server_error
from orchestration.server.recorder import drain

if TYPE_CHECKING:
    import asyncio

    from cli.request import Request
    from cli.terminal.progress import LineProgress, LiveProgress
    from imageferry.copy.engine import Engine

# Seconds for a last try to reach a server that was given up.
LAST_TRY = 2.0

# The engine tries again by itself; a second attempt of Prefect's would find the run gone.
_sync = sync.with_options(retries=0)


async def run_recorded(
    request: Request, engine: Engine, stop: asyncio.Event, progress: LiveProgress | LineProgress, why: str = ""
) -> RunResult:
    """Run the flow, and whatever becomes of Prefect's server, copy every image.

    ``why`` says in words why there is no server from the start; empty where there is one.
    """
    run = RunContext(engine, stop)
    if why:
        run.monitor.mark_lost(why)
    with run.entered():
        return await _run_entered(request, run, progress)


async def _run_entered(request: Request, run: RunContext, progress: LiveProgress | LineProgress) -> RunResult:
    engine, stop = run.engine, run.stop
    async with run.monitor.monitoring():
        identity = None if run.monitor.lost else await _flow(request, run)
        if not stop.is_set():
            # Nothing, if the flow has run to its end.
            await until_stopped(stop, run.runner.run(engine.configuration.rules))
        # Nothing, if all was reached: what is left out of a report would pass for copied.
        engine.give_up_rest(engine.configuration.rules)
        report = engine.outcomes.report(Status.CANCELLED if stop.is_set() else None, identity)

        def say(recorded: int, awaited: int) -> None:
            progress.say(f"Prefect's server has recorded {recorded:,} of {format_count(awaited, 'task run')}")

        await until_stopped(stop, run.recorder.wait_until_recorded(say), 1.0, grace=2.0)
        await drain(run.monitor)
    if identity is not None and run.monitor.lost and not stop.is_set():
        summary = f"{report.summary}; history incomplete: {run.monitor.why}"
        state: State[None] = (Failed if report.totals.failed else Completed)(message=summary)
        await set_final_states(run, LAST_TRY, root=(identity, state))
    return RunResult(report, _missing(run, identity))


async def _flow(request: Request, run: RunContext) -> str | None:
    """Run the flow as far as Prefect's server lets it; return the flow run's id where there is one."""
    try:
        # One client of Prefect's for all: each reads the system's authorities anew.
        context = AsyncClientContext()
        run.monitor.guard(context.client)
        async with context:
            # Tags that are there from the start cost no request.
            with run.offered(), tags(*registry_tags(run.engine.configuration.rules)):
                state = await _sync(
                    config=request.described,
                    dry_run=request.dry_run,
                    force=request.force,
                    platforms=[str(platform) for platform in request.platforms.platforms] or None,
                    distribute=request.distribute,
                    return_state=True,
                )
    except Exception as error:
        # Prefect's own: what the flow does itself never comes out of it.
        run.monitor.mark_lost(describe_server_error(error))
        return run.flow_run_id
    if not state.is_final():
        run.monitor.mark_lost(f"it has left the flow run {state.name}")
    return str(state.state_details.flow_run_id)


def _missing(run: RunContext, identity: str | None) -> str:
    if identity is None:
        return f"no run: {run.monitor.why}"
    return "; ".join(part for part in (run.monitor.why, run.recorder.missing) if part)
