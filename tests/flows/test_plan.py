"""The plan in Prefect: beside the copying, in order, and red where something could not be planned."""

import asyncio
import logging

import pytest
from prefect.states import Failed

from flows import sync
from imageferry.config import load_text
from imageferry.copy.engine import Engine
from imageferry.copy.options import Options
from orchestration.open_run import RunRequest
from orchestration.run_context import RunContext
from orchestration.server.recorder import TaskRunRecorder
from testkit.command_line import CommandLine, insecure
from testkit.killing import Gate, wait_until
from testkit.prefect.api import PrefectApi
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured, outcomes


def test_rules_are_copied_while_others_are_planned_and_what_fails_there_is_red(
    command: CommandLine, prefect_server: PrefectApi, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for name in ("quick", "slow"):
        fake_source.image(name, "v1", [name.encode()])
    fake_source.tag("quick", "old", "v1")
    fake_source.storage.repository("nothing")
    gate = Gate()
    fake_source.rules.append(Fault(Match("tags", path="/slow/"), gate.action()))
    source, destination = fake_source.host, fake_destination.host
    images = {f"{source}/{name}": f"{destination}/{name}" for name in ("missing", "slow", "quick", "nothing")}
    # It reads what another rule writes, and stands before it.
    images = {f"{destination}/quick:v1": f"{destination}/end", **images}
    rules = {"tags": {"exclude": ["old"]}}
    command.config({"auth": insecure(source, destination), "images": images, "defaults": {"rules": rules}})
    process = command.start("--report", "report.json")
    try:
        wait_until(lambda: fake_destination.tags("end"), "what the rule that waits has copied")
        assert not fake_destination.tags("slow")
    finally:
        gate.opened.set()
        finished = command.finish(process)
    assert finished.status == 1, finished.both
    assert fake_destination.tags("slow") == ["v1"]
    assert fake_destination.digest("end", "v1") == fake_source.digest("quick", "v1")
    report = command.report()
    nothing = f"rule {source}/nothing selects nothing: {source}/nothing has no tags"
    assert report["notes"] == [nothing]
    assert f"note: {nothing}" in finished.out

    identity = report["flow_run_id"]
    plans = [run for run in prefect_server.task_runs(identity) if run["name"] == "plan"]
    assert [run["state_type"] for run in plans] == ["FAILED"]
    assert plans[0]["state"]["message"] == f"1 rule could not be planned: {source}/missing"
    assert plans[0]["run_count"] == 1
    assert len(prefect_server.subflows(identity)) == 3
    logs = prefect_server.logs(identity)
    assert logs.count(nothing) == 1
    assert logs.count(f"{source}/quick: 2 tags; exclude 1: 1 selected") == 1
    assert not [line for line in logs if "Traceback" in line]
    assert (
        f"[{source}/missing](../../runs/task-run/{plans[0]['id']})"
        in (prefect_server.artifacts(identity)["imageferry-summary-config-json"]["data"])
    )


async def test_what_a_subflow_that_broke_down_has_left_is_copied_with_a_warning(
    fake_source: FakeRegistry,
    fake_destination: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake_source.image("app", "v1")
    rule = f"{fake_source.host}/app"
    text = configured({rule: f"{fake_destination.host}/app"}, fake_source, fake_destination)

    async def break_down(*args: object, **more: object) -> object:
        return Failed(message="TypeError: no")

    monkeypatch.setattr(sync, "_rule_subflow", break_down)
    monkeypatch.setattr(TaskRunRecorder, "task_started", lambda _: asyncio.sleep(0))
    with caplog.at_level(logging.WARNING, "imageferry"):
        async with Engine(load_text(text, "c", environment={}), Options(), environment={}) as engine:
            await sync._copy_in_subflows(RunContext(engine), [rule], RunRequest(config="c"))
            report = engine.outcomes.report()
    assert outcomes(report) == {f"{fake_destination.host}/app:v1": "copied"}
    (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert line.getMessage() == f"the subflow of {rule} left images: TypeError: no; they are copied without it"
