"""What is left of a run that was killed."""

from datetime import timedelta

import pytest
from prefect import flow, task
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Crashed, Running

from orchestration.deployments.remains import end_remains
from testkit.prefect.api import PrefectApi


@flow
def parent() -> None:
    """The flow of a deployment."""


@flow
def child() -> None:
    """A subflow."""


@task
def step() -> None:
    """A task."""


class Killed:
    """Runs of a deployment as their processes have left them, made with the server's API."""

    def __init__(self, client: PrefectClient) -> None:
        self.client = client

    async def make(self, *, parent_is: StateType, name: str) -> None:
        flow_id = await self.client.create_flow(parent)
        self.deployment = await self.client.create_deployment(flow_id, name)
        run = await self.client.create_flow_run_from_deployment(self.deployment)
        self.placeholder = await self.client.create_task_run(step, run.id, "sync-rule-0", state=Running())
        self.done = await self.client.create_task_run(step, run.id, "plan", state=Completed())
        self.subflow = await self.client.create_flow_run(child, parent_task_run_id=self.placeholder.id, state=Running())
        self.copy = await self.client.create_task_run(step, self.subflow.id, "copy-0", state=Running())
        self.on_worker = await self.client.create_flow_run_from_deployment(
            self.deployment, parent_task_run_id=self.placeholder.id, state=Running()
        )
        ended = {StateType.CRASHED: Crashed, StateType.COMPLETED: Completed, StateType.RUNNING: Running}[parent_is]
        await self.client.set_flow_run_state(run.id, ended(), force=True)

    async def states(self) -> list[StateType | None]:
        tasks = [await self.client.read_task_run(each.id) for each in (self.placeholder, self.copy, self.done)]
        runs = [await self.client.read_flow_run(each.id) for each in (self.subflow, self.on_worker)]
        return [*(each.state_type for each in tasks), *(each.state_type for each in runs)]


UNTOUCHED = [StateType.RUNNING, StateType.RUNNING, StateType.COMPLETED, StateType.RUNNING, StateType.RUNNING]


@pytest.mark.parametrize("parent_is", [StateType.CRASHED, StateType.COMPLETED, StateType.RUNNING])
async def test_only_what_a_dead_run_has_left_is_ended(prefect_server: PrefectApi, parent_is: StateType) -> None:
    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        async with get_client() as client:
            killed = Killed(client)
            await killed.make(parent_is=parent_is, name=f"remains-{parent_is.value.lower()}")
            # The server may not have heard all of a run that is over just now.
            assert await end_remains(client, killed.deployment) == 0
            assert await killed.states() == UNTOUCHED
            ended = await end_remains(client, killed.deployment, timedelta(0))
            if parent_is is not StateType.CRASHED:
                assert (ended, await killed.states()) == (0, UNTOUCHED)
                return
            assert ended == 3
            crashed, running = StateType.CRASHED, StateType.RUNNING
            assert await killed.states() == [crashed, crashed, StateType.COMPLETED, crashed, running]
            assert await end_remains(client, killed.deployment, timedelta(0)) == 0
