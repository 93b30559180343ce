"""The order of rules, and the images of a batch, where runs on workers do the copying: without a server or workers."""

import asyncio
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import StateType

from imageferry.config import load_text
from imageferry.copy.engine import Engine
from imageferry.copy.options import Options
from imageferry.copy.runner import LocalRunner
from imageferry.report.outcomes import Report
from orchestration.open_run import RunRequest
from orchestration.run_context import RunContext
from orchestration.server.recorder import TaskRunRecorder
from orchestration.workers import distribute
from orchestration.workers.runs import WorkerRuns
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured, errors, outcomes


class Workers:
    """Workers that do what ``sync-rule`` does, in this process; ``runs`` has the parameters of each run."""

    def __init__(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs: list[dict[str, Any]] = []
        self.configuration = load_text(text, "config.json", environment={})
        self._reports: dict[Any, Report] = {}
        monkeypatch.setattr(WorkerRuns, "run", lambda _, name, parameters: self._start(parameters))
        monkeypatch.setattr(TaskRunRecorder, "task_started", lambda _: asyncio.sleep(0))
        monkeypatch.setattr(TaskRunRecorder, "task_untracked", lambda _: None)
        monkeypatch.setattr(WorkerRuns, "_supervise", lambda _: asyncio.sleep(60))
        monkeypatch.setattr(distribute._Distributor, "_outcomes", lambda _, ended: self._outcomes(ended.id))

    async def copy(self) -> Report:
        """Have the configuration copied, and return the report of the run that distributes it."""
        async with Engine(self.configuration, Options(), environment={}) as engine:
            run = RunContext(engine)
            names = [rule.name for rule in self.configuration.rules]
            async with asyncio.timeout(20):
                await distribute.copy_on_workers(run, names, RunRequest(config="c"), "workers")
            return engine.outcomes.report()

    async def _start(self, parameters: dict[str, Any]) -> Any:
        self.runs.append(parameters)
        options = Options(withheld=frozenset(parameters.get("withheld", ())))
        configuration = self.configuration.only(parameters["rule"], parameters["images"])
        async with Engine(configuration, options, environment={}) as engine:
            await LocalRunner(engine).run(configuration.rules)
            identity = uuid4()
            self._reports[identity] = engine.outcomes.report()
        return SimpleNamespace(
            id=identity, state=SimpleNamespace(type=StateType.COMPLETED, name="Completed", message="")
        )

    async def _outcomes(self, identity: Any) -> Any:
        report = self._reports[identity]
        return report.totals, report.images


async def test_a_rule_is_given_to_workers_once_those_that_it_follows_are_done(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = fake_source.image("a/app", "v1")
    stage, end = f"{fake_destination.host}/stage/app", f"{fake_destination.host}/end/app"
    images = {stage: end, f"{fake_source.host}/a/app": stage}
    workers = Workers(configured(images, fake_source, fake_destination), monkeypatch)
    report = await workers.copy()
    assert outcomes(report) == {f"{stage}:v1": "copied", f"{end}:v1": "copied"}
    assert [run["rule"] for run in workers.runs] == [f"{fake_source.host}/a/app", stage]
    assert fake_destination.digest("end/app", "v1") == digest


async def test_workers_leave_tags_that_other_rules_would_write_as_well(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        for tag in ("v1", name):
            fake_source.image(f"{name}/app", tag, [name.encode()])
    shared, own = f"{fake_destination.host}/shared", f"{fake_destination.host}/own"
    images = {f"{fake_source.host}/one/app": [shared, own], f"{fake_source.host}/two/app": shared}
    workers = Workers(configured(images, fake_source, fake_destination), monkeypatch)
    report = await workers.copy()
    assert set(errors(report)) == {f"{shared}:v1"}
    assert fake_destination.tags("shared") == ["one", "two"]
    assert fake_destination.tags("own") == ["one", "v1"]
    assert [run.get("withheld", []) for run in sorted(workers.runs, key=lambda run: str(run["rule"]))] == [
        [f"{shared}:v1"],
        [],
    ]
    assert len(report.images) == 6


async def test_an_exception_that_nobody_expects_costs_one_batch(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bad", "well"):
        fake_source.image(name, "v1")
    images = {f"{fake_source.host}/{name}": f"{fake_destination.host}/{name}" for name in ("bad", "well")}
    workers = Workers(configured(images, fake_source, fake_destination), monkeypatch)
    start = workers._start

    async def break_down(parameters: dict[str, Any]) -> Any:
        if parameters["rule"].endswith("bad"):
            raise OverflowError("cannot convert float infinity to integer")
        return await start(parameters)

    async def fail(self: Any, batch: Any) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(WorkerRuns, "run", lambda _, name, parameters: break_down(parameters))
    monkeypatch.setattr(distribute._Distributor, "_copy_here", fail)
    report = await workers.copy()
    assert outcomes(report) == {
        f"{fake_destination.host}/bad:v1": "failed",
        f"{fake_destination.host}/well:v1": "copied",
    }
