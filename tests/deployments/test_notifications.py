"""Messages about runs that failed or died, as Prefect's own automations send them."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deployments import notifications
from orchestration.deployments import automations
from testkit.command_line import CommandLine
from testkit.prefect.api import PrefectApi
from testkit.prefect.programs import Programs

# One process has the server with the deployments, and its worker: to set them up takes half a minute.
pytestmark = pytest.mark.xdist_group("deployments")

TOKEN = "planted-token-55e0"


class Receiver:
    """Takes what a webhook is called with."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        texts = self.texts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"].startswith("application/json")
                texts.append(json.loads(body)["text"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/{TOKEN}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def wait_for(self, text: str) -> str:
        """Wait for a message with this in it, and give it."""
        begun = time.monotonic()
        while not (found := [each for each in self.texts if text in each]):
            assert time.monotonic() - begun < 120, self.texts
            time.sleep(0.1)
        return found[0]

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def receiver(deployed: Programs, prefect_server: PrefectApi) -> Iterator[Receiver]:
    """A receiver that the automations of the session's server call."""
    receiver = Receiver()
    for _ in range(2):
        finished = deployed.run("deployments.notifications", "--url", receiver.url, "--dead-after", "15s")
        assert finished.status == 0, finished.both
        assert TOKEN not in finished.both
    yield receiver
    # Runs of other tests are silent for longer than 15 s.
    for each in _automations(prefect_server):
        prefect_server.send("DELETE", f"automations/{each['id']}").raise_for_status()
    receiver.close()


def _automations(server: PrefectApi) -> list[dict[str, Any]]:
    found = server.send("POST", "automations/filter", {}).raise_for_status().json()
    return [each for each in found if each["name"].startswith("Imageferry: ")]


def test_applying_it_twice_leaves_one_of_each(receiver: Receiver, prefect_server: PrefectApi) -> None:
    wanted = {automations.DIED, automations.LEFT, notifications.FAILED, notifications.BLOCKED}
    assert sorted(each["name"] for each in _automations(prefect_server)) == sorted(wanted)
    assert all(each["enabled"] for each in _automations(prefect_server))


def test_a_run_that_failed_is_told_of_once_and_no_other_is(
    receiver: Receiver, worker: Programs, prefect_server: PrefectApi, command: CommandLine
) -> None:
    # By hand: whoever did it has seen it.
    command.config({"images": {"127.0.0.1:9/a/b:v1": "127.0.0.1:9/c/d"}})
    assert command.run("--retries", "0").status == 1
    ids = []
    for name in ("not\\there", 'nor "this"'):
        run = prefect_server.ended(prefect_server.start("sync/ad-hoc", config=name).json()["id"])
        ids.append(run["name"])
        told = receiver.wait_for(run["name"])
        assert told.startswith(f"Imageferry: sync/ad-hoc, run {run['name']}: Failed. ")
        assert "is no file in" in told
        assert name in told
    assert len(receiver.texts) == 2, receiver.texts


def test_a_run_whose_process_died_is_marked_and_told_of(
    receiver: Receiver, deployed: Programs, prefect_server: PrefectApi
) -> None:
    # A run that says it is at work, and is heard of once.
    deployment = prefect_server.deployment("sync/ad-hoc")
    created = prefect_server.send(
        "POST",
        "flow_runs/",
        {
            "flow_id": deployment["flow_id"],
            "deployment_id": deployment["id"],
            "name": "lost",
            "state": {"type": "RUNNING"},
        },
    )
    identity = created.raise_for_status().json()["id"]
    heartbeat = {
        "id": str(uuid.uuid4()),
        "event": automations.HEARTBEAT,
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": f"prefect.flow-run.{identity}"},
        # As Prefect's flow engine sends it: the deployment has no name in it.
        "related": [
            {
                "prefect.resource.id": f"prefect.flow.{deployment['flow_id']}",
                "prefect.resource.role": "flow",
                "prefect.resource.name": "sync",
            },
            {"prefect.resource.id": f"prefect.deployment.{deployment['id']}", "prefect.resource.role": "deployment"},
        ],
        "payload": {},
    }
    prefect_server.send("POST", "events", [heartbeat]).raise_for_status()
    # Another one is cancelled, and nobody is left to do it.
    body = {"flow_id": deployment["flow_id"], "deployment_id": deployment["id"], "state": {"type": "RUNNING"}}
    left = prefect_server.send("POST", "flow_runs/", body).raise_for_status().json()["id"]
    cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": False}
    prefect_server.send("POST", f"flow_runs/{left}/set_state", cancelling).raise_for_status()
    run = prefect_server.ended(identity)
    assert run["state_type"] == "CRASHED"
    assert "no sign of life" in run["state"]["message"]
    assert prefect_server.ended(left)["state_type"] == "CANCELLED"
    assert receiver.wait_for("run lost").startswith("Imageferry: sync/ad-hoc, run lost: Crashed. no sign of life")


def test_two_runs_in_a_row_without_a_slot_are_told_of(
    receiver: Receiver, deployed: Programs, prefect_server: PrefectApi
) -> None:
    deployment = prefect_server.deployment("sync/scheduled")
    before = len(receiver.texts)
    for name, message in (
        ("by-hand", "stopped; 1 copied"),
        ("first-night", "Deployment concurrency limit reached."),
        ("second-night", "Deployment concurrency limit reached."),
    ):
        body = {"flow_id": deployment["flow_id"], "deployment_id": deployment["id"], "name": name}
        run = prefect_server.send("POST", "flow_runs/", body).raise_for_status().json()["id"]
        state = {"state": {"type": "CANCELLED", "message": message}, "force": True}
        prefect_server.send("POST", f"flow_runs/{run}/set_state", state).raise_for_status()
    told = receiver.wait_for("run second-night")
    assert told.startswith(
        "Imageferry: sync/scheduled, run second-night: Cancelled. Deployment concurrency limit reached."
    )
    assert len(receiver.texts) == before + 1, receiver.texts


@pytest.mark.parametrize("url", ["hooks.example/x", "ftp://hooks.example/x", "https://"])
def test_what_is_no_web_address_is_refused(programs: Programs, url: str) -> None:
    finished = programs.run("deployments.notifications", "--url", url)
    assert finished.status != 0
    assert "expected https://" in finished.both
    assert "Traceback" not in finished.both
