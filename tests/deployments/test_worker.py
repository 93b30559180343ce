"""A deployment under a real worker, cancelled as the UI does it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testkit.command_line import ROOT, CommandLine, insecure
from testkit.killing import wait_until
from testkit.prefect.api import TERMINAL, PrefectApi
from testkit.processes import end
from testkit.registries import actions
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry

# One process has the server with the deployments, and its worker: to set them up takes half a minute.
pytestmark = pytest.mark.xdist_group("deployments")

DEPLOY = """
import sys
from prefect import flow

flow.from_source(source=sys.argv[1], entrypoint="flows/sync.py:sync").deploy(
    name="cancelled", work_pool_name="imageferry", print_next_steps=False
)
"""


@pytest.fixture
def environment(tmp_path: Path, prefect_server: PrefectApi) -> dict[str, str]:
    """The environment of a worker at the session's server."""
    return CommandLine(tmp_path, prefect_server.url).environment() | {
        "PREFECT_LOGGING_EXTRA_LOGGERS": "imageferry",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }


def start_flow_run(api: PrefectApi, environment: dict[str, str], parameters: dict[str, object]) -> str:
    """Deploy the flow and start a run of it; give its id."""
    for code in (["-m", "deployments.work_pool"], ["-c", DEPLOY, str(ROOT)]):
        subprocess.run([sys.executable, *code], cwd=ROOT, env=environment, check=True, capture_output=True, timeout=120)
    return str(api.start("sync/cancelled", **parameters).raise_for_status().json()["id"])


def test_a_run_that_is_cancelled_in_the_ui_drops_its_uploads_and_ends_cancelled(
    tmp_path: Path,
    prefect_server: PrefectApi,
    environment: dict[str, str],
    fake_source: FakeRegistry,
    fake_destination: FakeRegistry,
) -> None:
    for tag in range(3):
        fake_source.image("demo/app", f"v{tag}", [os.urandom(2_000_000)])
    fake_source.rules.append(Fault("blob-get", actions.stall_after(1_000_000)))
    hosts = fake_source.host, fake_destination.host
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps({"auth": insecure(*hosts), "images": {f"{hosts[0]}/demo/app": f"{hosts[1]}/mirror/app"}})
    )
    identity = start_flow_run(prefect_server, environment, {"config": str(config)})
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", "imageferry", "--type", "process"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(
                lambda: any(entry.bytes_in for entry in fake_destination.log.entries("upload-patch")), "an upload"
            )
            begun = time.monotonic()
            cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": False}
            prefect_server.send("POST", f"flow_runs/{identity}/set_state", cancelling).raise_for_status()
            wait_until(lambda: prefect_server.flow_run(identity)["state_type"] in TERMINAL, "the end of the flow run")
            seconds = time.monotonic() - begun
            wait_until(lambda: not fake_destination.storage.uploads, "the end of the upload sessions")
        finally:
            # Now and then Prefect's worker hangs at its end.
            end(worker)
    told = (tmp_path / "worker.log").read_text()
    run = prefect_server.flow_run(identity)
    assert run["state_type"] == "CANCELLED", told
    # The worker's own look for cancelled runs, and the grace that it gives a process, are within it.
    assert seconds < 60, told
    assert "Traceback" not in told
    assert {state["state_type"] for state in prefect_server.subflows(identity)} == {"CANCELLED"}, told
    artifacts = prefect_server.artifacts(identity)
    (summary,) = (each["data"] for key, each in artifacts.items() if key.startswith("imageferry-summary-"))
    assert "interrupted" in summary
    assert fake_destination.tags("mirror/app") == []
