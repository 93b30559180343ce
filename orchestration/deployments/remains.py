"""What a killed run leaves behind in Prefect: tasks and subflows that are Running for ever, as nothing ends them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterEndTime,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType, TaskRun
from prefect.context import FlowRunContext
from prefect.states import Crashed

from imageferry.text import describe_exception, format_count
from orchestration.run_context import RunContext

logger = logging.getLogger("imageferry.history")

# How long a run has to be over: the server may be behind with what its tasks sent before.
OVER_FOR = timedelta(minutes=5)

# Seconds that it may take: a run does not wait for what another one has left.
LIMIT = 10.0

# Task runs and subflows that are ended at a time; the next run ends more.
MOST = 200

_UNFINISHED = [StateType.RUNNING, StateType.PENDING, StateType.SCHEDULED, StateType.CANCELLING]
_DEAD = [StateType.CRASHED, StateType.CANCELLED]


async def end_remains_of_others(run: RunContext) -> None:
    """End what killed runs of this flow run's deployment have left: one request where there is nothing."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return
    try:
        async with asyncio.timeout(LIMIT), get_client() as client:
            run.monitor.guard(client)
            ended = await end_remains(client, context.flow_run.deployment_id)
        if ended:
            logger.info("%s of runs that were killed ended as Crashed", format_count(ended, "task or subflow"))
    except Exception as error:
        # It concerns other runs: this one goes on.
        logger.info("what killed runs have left is not ended: %s", describe_exception(error))


async def end_remains(client: PrefectClient, deployment: UUID, over_for: timedelta = OVER_FOR) -> int:
    """Mark as crashed what the dead runs of a deployment have left unfinished; return how much that was.

    Runs on workers, which a run with ``distribute`` has started, belong to a deployment themselves and go on.
    """
    dead = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_DEAD)),
        end_time=FlowRunFilterEndTime.model_validate({"before_": datetime.now(UTC) - over_for}),
    )
    # A subflow has a task run in its parent.
    left = await _unfinished_tasks(client, dead)
    parents = {each.flow_run_id for each in left if each.flow_run_id}
    subflows: list[UUID] = []
    if parents:
        children = FlowRunFilter(
            parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=sorted(parents)),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED)),
            deployment_id=FlowRunFilterDeploymentId(is_null_=True),
        )
        subflows = [each.id for each in await client.read_flow_runs(flow_run_filter=children, limit=MOST)]
    if subflows:
        left += await _unfinished_tasks(client, FlowRunFilter(id=FlowRunFilterId(any_=subflows)))
    await _crash(client, [each.id for each in left], subflows)
    return len(left) + len(subflows)


async def _unfinished_tasks(client: PrefectClient, of: FlowRunFilter) -> list[TaskRun]:
    unfinished = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_UNFINISHED)))
    return await client.read_task_runs(flow_run_filter=of, task_run_filter=unfinished, limit=MOST)


async def _crash(client: PrefectClient, tasks: Iterable[UUID], subflows: Iterable[UUID]) -> None:
    state: State[None] = Crashed(message="the process or machine of its run was gone")
    for each in tasks:
        await client.set_task_run_state(each, state, force=True)
    for each in subflows:
        await client.set_flow_run_state(each, state, force=True)
