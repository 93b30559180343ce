"""Runs on workers, as they are looked after: what is said of them, and when they are given up."""

import asyncio
import logging
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelling, Completed, Late, Pending, Running

from imageferry.config import load_text
from imageferry.copy.engine import Engine
from imageferry.copy.errors import Interrupted
from imageferry.copy.options import Options
from orchestration.run_context import RunContext
from orchestration.workers import runs
from orchestration.workers.runs import WorkerRuns
from tests.copy.running import configured


class Server:
    """As much of a Prefect server as is asked about runs; time passes in it as fast as it can."""

    def __init__(self) -> None:
        self.runs: dict[UUID, FlowRun] = {}
        self.events: list[Any] = []
        self.heartbeats = False

    def put(self, identity: UUID, state: State) -> FlowRun:
        self.runs[identity] = FlowRun(
            id=identity, flow_id=uuid4(), name="rule", state=state, state_type=state.type, state_name=state.name
        )
        return self.runs[identity]

    def state(self, identity: UUID) -> str | None:
        return self.runs[identity].state_name

    async def read_flow_runs(self, *, flow_run_filter: Any) -> list[FlowRun]:
        return [run.model_copy() for identity, run in self.runs.items() if identity in flow_run_filter.id.any_]

    async def read_events(self, filter: Any, limit: int) -> Any:
        if self.heartbeats or not self.events:
            self.events.append(SimpleNamespace(id=uuid4()))
        return SimpleNamespace(events=self.events[-limit:])

    async def set_flow_run_state(self, identity: UUID, state: State, force: bool = False) -> None:
        self.put(identity, state)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """Such a server, behind Prefect's client."""
    server = Server()

    @asynccontextmanager
    async def get_client() -> Any:
        yield server

    async def arun_deployment(name: str, **_: Any) -> FlowRun:
        return next(run for run in server.runs.values() if run.name == "rule")

    monkeypatch.setattr(runs, "get_client", get_client)
    monkeypatch.setattr(runs, "arun_deployment", arun_deployment)
    monkeypatch.setattr(runs, "CHECK_EVERY", 0.01)
    monkeypatch.setattr(runs, "CHECK_WHEN_CANCELLED", 0.01)
    monkeypatch.setattr(runs, "LOG_WAIT_AFTER", 0.02)
    monkeypatch.setattr(runs, "PUBLISH_LIMIT", 0.05)
    return server


@pytest.fixture
def run() -> RunContext:
    """A run that would have others."""
    configuration = load_text(configured({"a.example/a": "b.example/b"}), "c", environment={})
    return RunContext(Engine(configuration, Options(), environment={}), flow_run_id=str(uuid4()))


@pytest.mark.parametrize(
    ("state", "ended"), [(Running(), "Crashed"), (Pending(), "Crashed"), (Cancelling(), "Cancelled")]
)
async def test_a_run_without_a_sign_of_life_is_given_up(
    server: Server, run: RunContext, state: State, ended: str
) -> None:
    identity = server.put(uuid4(), state).id
    looking = WorkerRuns(run, 0.05, "the work pool x")
    async with looking.supervised():
        found = await looking.run("rule", {})
    assert found.state
    assert server.state(identity) == found.state.name == ended
    assert "no sign of life" in str(found.state.message)


async def test_one_that_gives_signs_of_life_is_awaited(server: Server, run: RunContext) -> None:
    identity = server.put(uuid4(), Running()).id
    server.heartbeats = True
    looking = WorkerRuns(run, 0.05, "the work pool x")
    async with looking.supervised():
        awaited = asyncio.create_task(looking.run("rule", {}))
        while len(server.events) < 20:
            await asyncio.sleep(0.01)
        assert not awaited.done()
        server.put(identity, Completed())
        assert (await awaited).state_type == "COMPLETED"


async def test_one_that_is_deleted_has_crashed(server: Server, run: RunContext) -> None:
    identity = server.put(uuid4(), Running()).id
    looking = WorkerRuns(run, 60, "the work pool x")
    async with looking.supervised():
        awaited = asyncio.create_task(looking.run("rule", {}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del server.runs[identity]
        found = await awaited
    assert found.state
    assert found.state.is_crashed()


async def test_what_waits_for_a_worker_is_said_and_awaited(
    server: Server, run: RunContext, caplog: pytest.LogCaptureFixture
) -> None:
    identity = server.put(uuid4(), Late()).id
    looking = WorkerRuns(run, 0.01, "the work pool x")
    with caplog.at_level(logging.INFO, "imageferry.workers"):
        async with looking.supervised():
            awaited = asyncio.create_task(looking.run("rule", {}))
            while "waits" not in caplog.text:
                await asyncio.sleep(0.01)
            server.put(identity, Completed())
            assert (await awaited).state_type == "COMPLETED"
    (said,) = [record for record in caplog.records if "waits" in record.message]
    assert said.levelno == logging.WARNING
    assert said.message == "1 run waits (Late) for a worker of the work pool x"


async def test_the_ui_cancels_a_run_with_those_under_it(server: Server, run: RunContext) -> None:
    identity = server.put(uuid4(), Running()).id
    looking = WorkerRuns(run, 60, "the work pool x")
    async with looking.supervised():
        awaited = asyncio.create_task(looking.run("rule", {}))
        await asyncio.sleep(0)
        parent = server.put(UUID(run.flow_run_id), Cancelling())
        parent.name = "parent"
        # It does not end soon: the report has to be written.
        with pytest.raises(Interrupted):
            await awaited
    assert run.stop.is_set()
    assert server.state(identity) == "Cancelling"
