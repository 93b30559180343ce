"""The final states of what a run has left at a Prefect server that was lost: once back, it would show it as running."""

from __future__ import annotations

import asyncio
import logging
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from imageferry.report.by_rule import stats_by_rule
from imageferry.text import describe_exception, format_count
from orchestration.run_context import RunContext

logger = logging.getLogger("imageferry.history")

# Seconds between two questions whether the server is back.
ASK_EVERY = 0.3

_OPEN = ["RUNNING", "PENDING"]
_PAGE = 200


async def set_final_states(run: RunContext, seconds: float, *, root: tuple[str, State[None]] | None = None) -> bool:
    """Set the states of the run's subflows and of their task runs where they have none that is final.

    ``root`` is the flow run above them and its state, where Prefect's engine does not set that. The server may come
    back within ``seconds``. Return whether it did; where not, that is logged.
    """
    try:
        async with asyncio.timeout(seconds), get_client() as client:
            while error := await client.api_healthcheck():
                logger.debug("Prefect's server is not back: %s", describe_exception(error))
                await asyncio.sleep(ASK_EVERY)
            await _end_subflows(client, run)
            if root is not None:
                identity, state = root
                await client.set_flow_run_state(UUID(identity), state, force=True)
    except Exception as error:
        logger.info("Prefect's server could not be given the end of the run: %s", describe_exception(error))
        return False
    return True


async def _end_subflows(client: PrefectClient, run: RunContext) -> None:
    figures = stats_by_rule(run.engine.outcomes.failures, run.engine.configuration.rules)
    failed = {each.rule: each.failed for each in figures}
    for rule, identity in run.subflows.items():
        state = _state(failed.get(rule, 0))
        found = await client.read_flow_run(UUID(identity))
        await _end_task_runs(client, identity, state)
        if found.state is None or not found.state.is_final():
            await client.set_flow_run_state(UUID(identity), state, force=True)


async def _end_task_runs(client: PrefectClient, flow_run: str, state: State[None]) -> None:
    """End those whose end was sent while the server was lost. What became of each image is in the run's summary."""
    wanted = {
        "flow_runs": {"id": {"any_": [flow_run]}},
        "task_runs": {"state": {"type": {"any_": _OPEN}}},
        "limit": _PAGE,
    }
    while found := (await client.request("POST", "/task_runs/filter", json=wanted)).json():
        for each in found:
            await client.set_task_run_state(UUID(each["id"]), state, force=True)
        if len(found) < _PAGE:
            break


def _state(failed: int) -> State[None]:
    lost = "Prefect's server was lost before this ended"
    return Failed(message=f"{format_count(failed, 'image')} failed; {lost}") if failed else Completed(message=lost)
