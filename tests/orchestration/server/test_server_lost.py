"""Prefect's server dies, hangs or is locked while images are copied: they are copied all the same."""

import os
import signal
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from testkit.command_line import CommandLine, Finished, insecure
from testkit.killing import Gate, fill, locked, own_server, stopped, wait_until
from testkit.prefect.server import PrefectServer
from testkit.processes import free_port
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry

RULES, TAGS = 6, 5

#: Seconds from the last byte to the end of the process. Nothing that it waits for takes longer than a few.
END_LIMIT = 40

#: Less than half a minute for a server that does not answer, as is usual.
IMPATIENT = {"IMAGEFERRY_HISTORY_PATIENCE": "8"}

INCOMPLETE = "Prefect's history of this run is incomplete"


@pytest.fixture
def gate(fake_source: FakeRegistry) -> Gate:
    """Holds a rule's first manifest: at that moment subflows are running, and others have not begun."""
    gate = Gate()
    fake_source.rules.append(Fault(Match("manifest-get", path="app0"), gate.action()))
    return gate


def configure(command: CommandLine, source: FakeRegistry, destination: FakeRegistry) -> None:
    """Fill the source, and have all of it copied."""
    fill(source, RULES, TAGS)
    hosts = source.host, destination.host
    images = {f"{hosts[0]}/demo/app{rule}": f"{hosts[1]}/mirror/app{rule}" for rule in range(RULES)}
    command.config({"auth": insecure(*hosts), "images": images})


def finish(command: CommandLine, process: object, gate: Gate) -> tuple[Finished, float]:
    """Let the registry go on; give the end of the run and the seconds that it took until then."""
    gate.opened.set()
    begun = time.monotonic()
    finished = command.finish(process)  # type: ignore[arg-type]
    return finished, time.monotonic() - begun


def all_copied(command: CommandLine, finished: Finished, destination: FakeRegistry) -> None:
    """Every image is there and reported, once, and nobody is shown a traceback."""
    assert finished.status == 0, finished.both
    assert f"completed: {RULES * TAGS} copied" in finished.out
    assert "Traceback" not in finished.both
    assert "Error logging" not in finished.both
    assert "EventsWorker" not in finished.both
    for rule in range(RULES):
        assert sorted(destination.tags(f"mirror/app{rule}")) == [f"v{tag}" for tag in range(TAGS)]
    report = command.report()
    assert report["status"] == "completed"
    assert len(report["images"]) == RULES * TAGS
    # No blob went twice: the shared one and the config go once, each of the others once.
    assert report["totals"]["blobs_copied"] == destination.count("upload-put")
    assert finished.err.count(INCOMPLETE) <= 1


@pytest.mark.parametrize(("whose", "way"), [("own", signal.SIGKILL), ("user's", signal.SIGSTOP)])
def test_all_is_copied_when_the_server_dies_or_hangs(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    fake_source: FakeRegistry,
    fake_destination: FakeRegistry,
    gate: Gate,
    whose: str,
    way: signal.Signals,
) -> None:
    command = CommandLine(tmp_path, home=request.getfixturevalue("ready_home"), more=IMPATIENT)
    if whose == "user's":
        server: PrefectServer = request.getfixturevalue("mortal_server")
        command.api_url = server.api.url
    configure(command, fake_source, fake_destination)
    process = command.start("--report", "report.json")
    wait_until(gate.reached.is_set, "the first manifest")
    pid = own_server(process) if whose == "own" else server.process.pid
    with ExitStack() as stack:
        if way is signal.SIGKILL:
            os.kill(pid, way)
        else:
            stack.enter_context(stopped(pid))
        finished, seconds = finish(command, process, gate)
    all_copied(command, finished, fake_destination)
    assert finished.err.count(INCOMPLETE) == 1, finished.err
    assert "task run" in finished.err or "more step" in finished.err
    assert seconds < END_LIMIT


def test_all_is_copied_while_the_database_is_locked(
    tmp_path: Path, mortal_server: PrefectServer, fake_source: FakeRegistry, fake_destination: FakeRegistry, gate: Gate
) -> None:
    command = CommandLine(tmp_path, mortal_server.api.url, more=IMPATIENT)
    configure(command, fake_source, fake_destination)
    process = command.start("--report", "report.json")
    wait_until(gate.reached.is_set, "the first manifest")
    with locked(mortal_server.home):
        gate.opened.set()
        # Without a history these two would wait for ever: they are the last rules, and have no subflow yet.
        wait_until(lambda: len(fake_destination.tags(f"mirror/app{RULES - 1}")) == TAGS, "the last rule's images")
    finished, _ = finish(command, process, gate)
    all_copied(command, finished, fake_destination)
    runs = mortal_server.api.task_runs(command.report()["flow_run_id"])
    copied = [run for run in runs if run["name"].startswith("copy") and run["state_type"] == "COMPLETED"]
    assert (INCOMPLETE in finished.err) == (len(copied) < RULES * TAGS)
    assert mortal_server.api.flow_run(command.report()["flow_run_id"])["state_type"] == "COMPLETED"


class _Broken(BaseHTTPRequestHandler):
    """A server that is healthy and can do nothing."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path.endswith("/health") else 500)
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(500)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def test_all_is_copied_when_the_server_can_create_no_flow_run(
    tmp_path: Path, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    # A blob of each image is large enough for a task run of its own.
    with ThreadingHTTPServer(("127.0.0.1", 0), _Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        more = IMPATIENT | {"IMAGEFERRY_BLOB_TASK_SIZE": "0"}
        command = CommandLine(tmp_path, f"http://127.0.0.1:{server.server_address[1]}/api", more=more)
        configure(command, fake_source, fake_destination)
        finished = command.run("--report", "report.json")
        server.shutdown()
    all_copied(command, finished, fake_destination)
    assert INCOMPLETE in finished.err


def test_a_failed_image_fails_the_run_with_or_without_a_history(
    tmp_path: Path, mortal_server: PrefectServer, fake_source: FakeRegistry, fake_destination: FakeRegistry, gate: Gate
) -> None:
    command = CommandLine(tmp_path, mortal_server.api.url, more=IMPATIENT)
    fake_source.image("demo/app0", "v1", [b"layer"])
    hosts = fake_source.host, fake_destination.host
    images = {
        f"{hosts[0]}/demo/app0:v1": f"{hosts[1]}/mirror/app0",
        f"{hosts[0]}/demo/app0:v9": f"{hosts[1]}/mirror/app9",
    }
    command.config({"auth": insecure(*hosts), "images": images})
    process = command.start("--report", "report.json")
    wait_until(gate.reached.is_set, "the first manifest")
    mortal_server.process.kill()
    finished, seconds = finish(command, process, gate)
    assert finished.status == 1, finished.both
    assert {image["outcome"] for image in command.report()["images"]} == {"copied", "failed"}
    assert "Traceback" not in finished.both
    assert seconds < END_LIMIT


def test_a_folder_that_cannot_be_written_is_told_with_the_way_without(
    tmp_path: Path, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    command = CommandLine(tmp_path)
    configure(command, fake_source, fake_destination)
    (tmp_path / "file").write_text("no folder")
    command.home = tmp_path / "file" / "prefect"
    begun = time.monotonic()
    finished = command.run()
    # No server is started, and prefect is not imported.
    assert time.monotonic() - begun < 5
    assert finished.status == 2
    assert finished.err == (
        f"imageferry: Prefect's folder {command.home} cannot be written (Not a directory): "
        "set PREFECT_HOME to one that can; or copy with --no-history, without Prefect\n"
    )
    assert len(fake_source.log) == len(fake_destination.log) == 0


def test_all_is_copied_when_the_server_cannot_start(
    tmp_path: Path, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    name = "PREFECT_API_DATABASE_CONNECTION_URL"
    # A blob of each image is large enough for a task run of its own.
    more = {name: f"postgresql+asyncpg://u:planted-7b1@127.0.0.1:{free_port()}/p", "IMAGEFERRY_BLOB_TASK_SIZE": "0"}
    command = CommandLine(tmp_path, more=more)
    configure(command, fake_source, fake_destination)
    finished = command.run("--report", "report.json")
    all_copied(command, finished, fake_destination)
    why = f"no run: Prefect's server cannot start with the database of {name}: ConnectionRefusedError: "
    assert f"imageferry: {INCOMPLETE}: {why}" in finished.err
    assert "planted" not in finished.both
    assert len(finished.err.splitlines()) < 40


def test_credentials_of_a_block_are_not_looked_for_in_another_database(
    tmp_path: Path, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    url = f"http://127.0.0.1:{free_port()}/api"
    command = CommandLine(tmp_path, url)
    hosts = fake_source.host, fake_destination.host
    auth = insecure(*hosts)
    auth[hosts[0]]["credentials"] = "hub"
    command.config({"auth": auth, "images": {f"{hosts[0]}/demo/app": f"{hosts[1]}/mirror/app"}})
    finished = command.run()
    assert finished.status == 1
    assert finished.err == f"imageferry: no Prefect server at {url} (connection refused): it has the credentials hub\n"
    assert len(fake_source.log) == 0


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGSTOP])
def test_an_interrupt_ends_in_time_though_the_server_is_gone(
    tmp_path: Path,
    ready_home: Path,
    fake_source: FakeRegistry,
    fake_destination: FakeRegistry,
    gate: Gate,
    way: signal.Signals,
) -> None:
    command = CommandLine(tmp_path, home=ready_home)
    configure(command, fake_source, fake_destination)
    process = command.start("--report", "report.json", "--output-failed-images", "failed.yaml")
    wait_until(gate.reached.is_set, "the first manifest")
    server = own_server(process)
    os.kill(server, way)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    finished = command.finish(process)
    seconds = time.monotonic() - begun
    if way is signal.SIGSTOP:
        os.kill(server, signal.SIGCONT)
    assert seconds < 10, finished.both
    assert finished.status == 130, finished.both
    assert "Traceback" not in finished.both
    report = command.report()
    assert report["status"] == "cancelled"
    assert any("interrupted" in (image["error"] or "") for image in report["images"])
    assert "demo/app0" in (tmp_path / "failed.yaml").read_text()
