"""One configuration on several workers of a work pool: `--distribute`."""

import asyncio
import http.server
import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from imageferry.config import load_text
from imageferry.copy.engine import Engine
from imageferry.copy.options import Options
from orchestration.deployments.configuration import find_configuration, registries_in
from orchestration.deployments.limits import make_limits
from orchestration.run_context import RunContext
from orchestration.workers import registry_slots as slots_module
from orchestration.workers.registry_slots import limit_name, slots
from testkit.command_line import CommandLine, insecure
from testkit.killing import Gate, wait_until
from testkit.prefect.api import TERMINAL, PrefectApi
from testkit.prefect.programs import Programs
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured

# One process has the server with the deployments: to set them up takes half a minute.
pytestmark = pytest.mark.xdist_group("deployments")

POOL = "distributed"


@pytest.fixture(scope="module")
def pool(deployed: Programs, prefect_server: PrefectApi) -> Iterator[Programs]:
    """Two workers for a pool of these tests alone, to which the deployment belongs meanwhile: one is killed."""
    prefect_server.make_pool(POOL, like="imageferry")
    prefect_server.move_deployment("sync-rule/worker", POOL)
    try:
        with ExitStack() as stack:
            for _ in range(2):
                words = ("prefect", "worker", "start", "--pool", POOL)
                stack.enter_context(deployed.running(*words, until="started!"))
            yield deployed
    finally:
        prefect_server.move_deployment("sync-rule/worker", "imageferry")


@pytest.fixture
def distributed(pool: Programs, command: CommandLine) -> CommandLine:
    """The command line, told to give up a run that is silent for 12 s and to have three images in one."""
    command.more |= {"IMAGEFERRY_SILENCE_LIMIT": "12", "IMAGEFERRY_IMAGES_PER_RUN": "3"}
    return command


def kill_with_worker(run: dict[str, Any]) -> None:
    """Kill a run's process, and before that its worker."""
    pid = int(run["infrastructure_pid"].rpartition(":")[2])
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (worker,) = [int(line.split()[1]) for line in status if line.startswith("PPid:")]
    assert b"worker" in Path(f"/proc/{worker}/cmdline").read_bytes()
    for each in (worker, pid):
        os.kill(each, signal.SIGKILL)


def test_rules_are_copied_by_workers_of_which_one_is_killed(
    distributed: CommandLine, prefect_server: PrefectApi, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for number in range(9):
        fake_source.image("demo/big", f"v{number}", [f"layer {number}".encode()])
        # Three are up to date, six are of yesterday.
        fake_destination.image("mirror/big", f"v{number}", [f"layer {number}".encode() if number < 3 else b"old"])
    for registry, repository in ((fake_source, "demo/same"), (fake_destination, "mirror/same")):
        registry.image(repository, "v1", [b"same"])
    fake_source.image("demo/small", "v1", [b"small"])
    gate = Gate()
    layer = fake_source.add_blob("demo/big", b"layer 8")
    fake_source.rules.append(Fault(Match("blob-get", path=layer), gate.action(), times=1))
    hosts = fake_source.host, fake_destination.host
    distributed.config(
        {
            "auth": insecure(*hosts),
            "images": {f"{hosts[0]}/demo/{name}": f"{hosts[1]}/mirror/{name}" for name in ("big", "same", "small")},
        }
    )
    prefect_server.save_limit(limit_name(hosts[0]), 9)

    process = distributed.start("--distribute", "--report", "report.json")
    wait_until(gate.reached.is_set, "the blob")
    wait_until(lambda: len(prefect_server.runs_of(POOL, *TERMINAL)) >= 2, "the other runs")
    (stalled,) = prefect_server.runs_of(POOL, "RUNNING")
    assert stalled["parameters"]["images"] == ["v6", "v7", "v8"]
    assert prefect_server.slots_taken(limit_name(hosts[0])) == 1
    kill_with_worker(stalled)
    finished = distributed.finish(process)
    gate.opened.set()

    assert finished.status == 0, finished.both
    assert "history" not in finished.err
    for number in range(9):
        tag = f"v{number}"
        assert fake_destination.digest("mirror/big", tag) == fake_source.digest("demo/big", tag)
    assert fake_destination.tags("mirror/small") == ["v1"]
    report = distributed.report()
    assert Counter(image["outcome"] for image in report["images"]) == {"copied": 7, "up_to_date": 4}
    assert report["totals"]["bytes_written"] > 0
    # Who copies a part plans it alone, and lists nothing of the source.
    heads = Counter(
        entry.path.rpartition("/")[2] for entry in fake_source.log.entries("manifest-head") if "big" in entry.path
    )
    assert [heads[f"v{number}"] for number in range(3)] == [1, 1, 1]
    assert all(heads[f"v{number}"] >= 2 for number in range(3, 9))
    assert fake_source.count("tags") == 3

    identity = report["flow_run_id"]
    below = prefect_server.subflows(identity)
    big = f"{hosts[0]}/demo/big"
    assert Counter(run["name"] for run in below) == {
        f"{big}, part 1 of 2": 1, f"{big}, part 2 of 2": 2, f"{hosts[0]}/demo/small": 1,
    }  # fmt: skip
    states = {run["id"]: run["state"] for run in below}
    crashed = states.pop(stalled["id"])
    assert crashed["type"] == "CRASHED"
    assert "no sign of life" in crashed["message"]
    assert {state["type"] for state in states.values()} == {"COMPLETED"}
    parent = prefect_server.flow_run(identity)
    assert parent["state"]["message"].startswith("7 copied, 4 up to date, 0 skipped, 0 failed")
    assert parent["parameters"]["config"] == str(distributed.folder / "config.json")
    assert "| copied | 7 |" in prefect_server.artifacts(identity)["imageferry-summary-config-json"]["data"]


def test_an_interrupt_cancels_the_runs_on_workers(
    distributed: CommandLine, prefect_server: PrefectApi, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("demo/app", "v1", [b"layer"])
    gate = Gate()
    fake_source.rules.append(Fault("blob-get", gate.action()))
    hosts = fake_source.host, fake_destination.host
    distributed.config({"auth": insecure(*hosts), "images": {f"{hosts[0]}/demo/app": f"{hosts[1]}/mirror/app"}})
    process = distributed.start("--distribute", "--report", "report.json", "--output-failed-images", "failed.json",
                                "--output-images-format", "json")  # fmt: skip
    wait_until(gate.reached.is_set, "the blob")
    process.send_signal(signal.SIGINT)
    finished = distributed.finish(process)
    assert finished.status == 130, finished.both
    report = distributed.report()
    assert report["status"] == "cancelled"
    assert [image["outcome"] for image in report["images"]] == ["failed"]
    assert "interrupted" in report["images"][0]["error"]
    assert f"{hosts[0]}/demo/app" in (distributed.folder / "failed.json").read_text()
    (child,) = prefect_server.subflows(report["flow_run_id"])
    assert prefect_server.ended(child["id"])["state_type"] == "CANCELLED"
    assert prefect_server.flow_run(report["flow_run_id"])["state_type"] == "CANCELLED"
    gate.opened.set()


async def test_limits_are_made_where_they_are_missing(prefect_server: PrefectApi, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "registries: {quay.io: {requests: 9}, '*': {requests: 8}, 'r.example:5000': {bandwidth: 5MB/s}}\n"
        "images: {quay.io/a/b: '${ELSEWHERE}/b'}\n"
    )
    registries = registries_in(find_configuration(None, tmp_path))
    assert registries == ["quay.io", "r.example:5000"]
    assert registries_in(find_configuration(None, tmp_path.parent)) == []
    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        assert await make_limits(registries) == (
            "concurrency limit imageferry:quay.io: made, 4 at once\n"
            "concurrency limit imageferry:r.example:5000: made, 4 at once"
        )
        prefect_server.change_limit("imageferry:quay.io", 2)
        assert "quay.io: there already, 2 at once" in await make_limits(registries, 7)


class _NoDeployments(http.server.BaseHTTPRequestHandler):
    """A Prefect server, as far as it is asked, on which nothing is deployed."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path.endswith("/health") else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"detail": "Not Found"}')

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def bare_server() -> Iterator[str]:
    """The address of such a server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _NoDeployments) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()
        thread.join()


def test_without_workers_nothing_is_copied(
    tmp_path: Path, bare_server: str, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("demo/app", "v1", [b"layer"])
    hosts = fake_source.host, fake_destination.host
    command = CommandLine(tmp_path)
    config = command.config({"auth": insecure(*hosts), "images": {f"{hosts[0]}/demo/app": f"{hosts[1]}/mirror/app"}})
    for url, words, told in (
        (bare_server, ["--config", config], "has no deployment sync-rule/worker: make it with `make deploy`"),
        ("http://127.0.0.1:9/api", [], "no Prefect server answers at http://127.0.0.1:9/api"),
        (None, [], "no Prefect server is set"),
        (None, ["--no-history"], "--distribute excludes --no-history"),
        (None, ["--images", config], "--distribute excludes --images: workers read one file"),
        (None, ["--namespace", "x"], "--distribute excludes --namespace"),
    ):
        command.api_url = url
        finished = command.run("--distribute", *words)
        assert finished.status == 2, finished.both
        assert told in finished.err
        assert "Traceback" not in finished.both
    assert len(fake_source.log) == len(fake_destination.log) == 0


async def test_a_limit_holds_over_all_runs(
    prefect_server: PrefectApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = limit_name("a.example")
    prefect_server.save_limit(name, 1)
    configuration = load_text(configured({"a.example/a": "b.example/b"}), "c", environment={})
    monkeypatch.setattr(slots_module, "flow_run", SimpleNamespace(id=str(uuid4())))
    monkeypatch.setattr(slots_module, "LOG_WAIT_AFTER", 0.1)
    runs = [RunContext(Engine(configuration, Options(), environment={})) for _ in range(2)]
    registries = sorted(configuration.rules[0].registries)
    assert registries == ["a.example", "b.example"]
    with temporary_settings({PREFECT_API_URL: prefect_server.url}), caplog.at_level(logging.INFO, "imageferry.slots"):
        async with slots(runs[0], registries):
            assert prefect_server.slots_taken(name) == 1

            async def second() -> None:
                async with slots(runs[1], registries):
                    pytest.fail("two hold one slot")

            waiting = asyncio.create_task(second())
            while "waits for a slot" not in caplog.text:
                await asyncio.sleep(0.02)
            waiting.cancel()
            await asyncio.wait({waiting})
            assert waiting.cancelled()
        assert prefect_server.slots_taken(name) == 0
        async with slots(runs[1], registries):
            assert prefect_server.slots_taken(name) == 1
    assert prefect_server.slots_taken(name) == 0
