"""What a run has left at a Prefect server that was lost is ended once the server is back."""

import time
from typing import Any
from uuid import uuid4

from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Failed

from imageferry.config import load_text
from imageferry.copy.engine import Engine
from imageferry.copy.options import Options
from orchestration.final_states import set_final_states
from orchestration.run_context import RunContext
from testkit.prefect.api import PrefectApi
from testkit.processes import free_port
from tests.copy.running import configured


def new_run(server: PrefectApi, kind: str, state: str, **more: Any) -> str:
    """Have the server believe in a flow run or a task run."""
    body = {"state": {"type": state}, **more}
    return str(server.send("POST", f"{kind}/", body).raise_for_status().json()["id"])


def lost_run() -> RunContext:
    """Give a run of two rules, of which the second had no time to copy its image."""
    rules = {"a.example/a:v1": "b.example/a", "a.example/b:v1": "b.example/b"}
    engine = Engine(load_text(configured(rules), "c", environment={}), Options(), environment={})
    engine.give_up_rest(engine.configuration.rules[1:])
    return RunContext(engine)


async def test_subflows_and_task_runs_end_by_what_was_copied(prefect_server: PrefectApi) -> None:
    flow = prefect_server.send("POST", "flows/", {"name": "sync-rule"}).raise_for_status().json()["id"]
    run = lost_run()
    ids = [new_run(prefect_server, "flow_runs", state, flow_id=flow) for state in ("RUNNING", "PENDING", "RUNNING")]
    root = ids.pop()
    ended = new_run(prefect_server, "flow_runs", "CRASHED", flow_id=flow)
    tasks = [
        new_run(prefect_server, "task_runs", state, flow_run_id=of, task_key="copy", dynamic_key=str(uuid4()))
        for of, state in zip(ids, ("RUNNING", "PENDING"), strict=True)
    ]
    run.subflows = {rule.name: identity for rule, identity in zip(run.engine.configuration.rules, ids, strict=True)}
    run.subflows["elsewhere"] = ended
    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        assert await set_final_states(run, 30.0, root=(root, Failed(message="1 failed")))
    found = [prefect_server.flow_run(identity)["state"] for identity in (*ids, ended, root)]
    assert [state["type"] for state in found] == ["COMPLETED", "FAILED", "CRASHED", "FAILED"]
    assert found[0]["message"] == "Prefect's server was lost before this ended"
    assert found[1]["message"] == "1 image failed; Prefect's server was lost before this ended"
    states = [prefect_server.send("GET", f"task_runs/{task}").json()["state_type"] for task in tasks]
    assert states == ["COMPLETED", "FAILED"]


async def test_a_server_that_does_not_come_back_is_not_waited_for_longer() -> None:
    begun = time.monotonic()
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        assert not await set_final_states(lost_run(), 0.1)
    assert time.monotonic() - begun < 3
