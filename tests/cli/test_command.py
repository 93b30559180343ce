"""What the command line says, writes and ends with."""

import json
import os
import pty
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testkit.command_line import CommandLine, insecure
from testkit.prefect.api import PrefectApi
from testkit.registries import actions
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry

#: Broken configurations: the text, the line of the fault, and words of the message.
BROKEN = [
    ("{", 1, "JSON"),
    ("[]", 1, "expected"),
    ('{\n"image": {"a.io/b": "c.io/d"}}', 2, "images"),
    ('{"images":\n{"a.io/b": 7}}', 2, "quote it"),
    ('{"images":\n{"a.io/b": "c.io/d",\n"a.io/b": "e.io/f"}}', 3, "twice"),
    ('{"images":\n{"": "c.io/d"}}', 2, "source"),
    ('{"images":\n{"a.io/B": "c.io/d"}}', 2, "upper case"),
    ('{"images":\n{"a.io/b:v 1": "c.io/d"}}', 2, "tag"),
    ('{"images":\n{"a.io/b:v1,": "c.io/d"}}', 2, "tag"),
    ('{"images":\n{"a.io/b:v1,v2": "c.io/d:v3"}}', 2, "tag"),
    ('{"images":\n{"a.io/b": "c.io/d:v3"}}', 2, "tag"),
    ('{"images":\n{"a.io/b:/(/": "c.io/d"}}', 2, "regular expression"),
    ('{"images":\n{"a.io/b:/v/": "c.io/d:v1,v2"}}', 2, "tag"),
    ('{"images":\n{"a.io/b@sha256:12": "c.io/d"}}', 2, "sha256"),
    ('{"images":\n{"a.io/b": ""}}', 2, "registry"),
    ('{"images":\n{"a.io/b": []}}', 2, "a.io/b"),
    ('{"images":\n{"a.io/b": "a.io/b"}}', 2, "itself"),
    ('{"images":\n{"a.io/b": "${NOT_SET_HERE}/d"}}', 2, "NOT_SET_HERE"),
    ('{"auth":\n{"a.io":\n{"pasword": "x"}}, "images": {"a.io/b": "c.io/d"}}', 3, "did you mean"),
    ('{"auth":\n{"a.io":\n{"username": "x"}}, "images": {"a.io/b": "c.io/d"}}', 3, "password"),
    (
        '{"auth":\n{"a.io":\n{"username": "$NOT_SET_HERE", "password": "p"}}, "images": {"a.io/b": "c.io/d"}}',
        3,
        "NOT_SET",
    ),
    ('{"auth":\n{"a.io":\n{"insecure": "yes"}}, "images": {"a.io/b": "c.io/d"}}', 3, "insecure"),
    ('{"auth":\n{"a.io":\n{"ca_file": "no-such.pem"}}, "images": {"a.io/b": "c.io/d"}}', 3, "no-such.pem"),
    ('{"auth":\n{"a.io":\n{"client_key": "k.pem"}}, "images": {"a.io/b": "c.io/d"}}', 3, "client_"),
    ('{"images":\n[{"from": "a.io/b"}]}', 2, "to"),
    ('{"images":\n[{"from": "a.io/b", "to": "c.io/d", "platform": ["linux"]}]}', 2, "did you mean"),
    ('{"images":\n[{"from": "a.io/b", "to": "c.io/d",\n"platforms": ["linux/a b"]}]}', 3, "platform"),
    ('{"registries":\n{"a.io": {"bandwidth": "5 apples"}}, "images": {"a.io/b": "c.io/d"}}', 2, "such as 50MiB/s"),
    ('{"defaults":\n{"registy": "a.io"}, "images": {"a.io/b": "c.io/d"}}', 2, "did you mean"),
]


@pytest.mark.parametrize(("text", "line", "words"), BROKEN)
def test_a_broken_configuration_is_told_with_its_line_before_prefect_is_imported(
    without_prefect: CommandLine, text: str, line: int, words: str
) -> None:
    without_prefect.config(text)
    finished = without_prefect.run()
    assert finished.status == 2, finished.both
    assert f"config.json:{line}:" in finished.err
    assert words in finished.err
    assert "Traceback" not in finished.both
    assert finished.out == ""


def test_all_faults_are_told_at_once(without_prefect: CommandLine) -> None:
    without_prefect.config('{"auth": {"a.io": {"pasword": "x"}},\n"images": {"a.io/B": "c.io/d",\n"": "c.io/e"}}')
    finished = without_prefect.run("--proc", "0", "--report", "no/such/folder.json")
    assert finished.status == 2
    for part in ("config.json:1:", "config.json:2:", "config.json:3:", "--proc 0", "no/such"):
        assert part in finished.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--no-such-flag"], "--no-such-flag"),
        (["--proc", "many"], "--proc"),
        (["--config", "missing.json"], "missing.json"),
        (["--auth", "auth.json"], "--images"),
        (["--os", "li nux"], "platform"),
        (["--log-level", "loud"], "--log-level"),
        (["--bandwidth", "8Mbit/s"], "--bandwidth: '8Mbit/s' is no bandwidth"),
        (["--bandwidth", "0"], "--bandwidth: '0' is out of bounds"),
    ],
)
def test_a_wrong_flag_is_status_2(without_prefect: CommandLine, arguments: list[str], words: str) -> None:
    finished = without_prefect.run(*arguments)
    assert finished.status == 2
    assert words in finished.err
    assert "Traceback" not in finished.both


def test_flags_of_image_syncer_that_change_nothing_are_taken_with_a_word(
    without_prefect: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    digest = fake_source.image("demo/app", "v1", [b"layer"])
    hosts = fake_source.host, fake_destination.host
    without_prefect.config({"auth": insecure(*hosts), "images": {f"{hosts[0]}/demo/app": f"{hosts[1]}/mirror/app"}})
    more = ["--auth", "no-such.json", "--images", "neither.json", "--records", "records"]
    finished = without_prefect.run("--no-history", "--quiet", "--config", "config.json", *more)
    assert finished.status == 0, finished.both
    assert finished.err.splitlines() == [
        "imageferry: --config config.json has it all: --auth and --images left unread, as image-syncer does",
        "imageferry: --records is not needed: what is up to date is found at the destination",
    ]
    assert fake_destination.digest("mirror/app", "v1") == digest
    assert not (without_prefect.folder / "records").exists()


@pytest.mark.parametrize("text", ["{}", "[]", '{"images": {}}'])
def test_a_file_without_rules_is_nothing_to_do(without_prefect: CommandLine, text: str) -> None:
    without_prefect.config(text, "failed.json")
    finished = without_prefect.run("--no-history", "--images", "failed.json", "--output-failed-images", "failed.json",
                                   "--output-images-format", "json")  # fmt: skip
    assert finished.status == 0, finished.both
    assert finished.err == "imageferry: nothing to do: there are no rules\n"
    assert (without_prefect.folder / "failed.json").read_text() == "{}\n"


def test_help_and_version_need_no_prefect(without_prefect: CommandLine) -> None:
    shown = without_prefect.run("--help")
    assert shown.status == 0
    for flag in ("--config", "--auth", "--images", "--registry", "--namespace", "--proc", "--retries", "--os", "--arch",
                 "--force", "--bandwidth", "--dry-run", "--report", "--log", "--log-level", "--output-success-images",
                 "--output-images-format", "--output-failed-images", "--quiet"):  # fmt: skip
        assert flag in shown.out
    assert without_prefect.run("--version").out.startswith("imageferry ")


def test_a_first_run_anywhere_needs_no_set_up(
    tmp_path: Path, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for number in range(5):
        fake_source.image("demo/app", f"v{number}", [b"shared", f"own {number}".encode()])
    command = CommandLine(tmp_path)
    hosts = fake_source.host, fake_destination.host
    command.config({"auth": insecure(*hosts), "images": {f"{hosts[0]}/demo/app": f"{hosts[1]}/mirror/app"}})
    finished = command.run("--report", "report.json")
    assert finished.status == 0, finished.both
    assert "completed: 5 copied" in finished.out
    # A line an image, and nothing of Prefect's own: no warning, no traceback.
    lines = finished.err.splitlines()
    assert len(lines) == 5, finished.err
    assert all(line.startswith("copied") for line in lines)
    recorded = _query(tmp_path / "prefect" / "prefect.db", "select state_type, count(*) from task_run group by 1")
    # plan, 5 tags with their small blobs, report, and Prefect's placeholder of the subflow
    assert recorded == [("COMPLETED", 8)]


def _query(database: Path, statement: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(database) as connection:
        return connection.execute(statement).fetchall()


def test_progress_on_a_terminal_is_live_and_leaves_only_the_summary(
    command: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("demo/app", "v1", [os.urandom(3_000_000)])
    fake_source.rules.append(Fault("blob-get", actions.delay(0.5)))
    hosts = fake_source.host, fake_destination.host
    command.config({"auth": insecure(*hosts), "images": {f"{hosts[0]}/demo/app": f"{hosts[1]}/mirror/app"}})
    shown, status = _on_terminal(command)
    assert status == 0, shown
    assert "of 1 image" in shown
    assert re.search(r"[0-9.]+ [kM]?B/s", shown)
    assert "completed: 1 copied" in shown
    assert "Traceback" not in shown


def _on_terminal(command: CommandLine) -> tuple[str, int]:
    """Run on a pseudo terminal; give all that was written to it, and the exit status."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.sync"],
        cwd=command.folder,
        env=command.environment() | {"TERM": "xterm", "COLUMNS": "120"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        ready, _, _ = select.select([ours], [], [], 120)
        assert ready, "it hangs"
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    return shown.decode(errors="replace"), process.wait(30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_in_order(
    command: CommandLine,
    prefect_server: PrefectApi,
    fake_source: FakeRegistry,
    fake_destination: FakeRegistry,
    number: signal.Signals,
) -> None:
    fake_source.image("demo/app", "v1", [b"layer"])
    fake_source.image("demo/app", "v2", [os.urandom(2_000_000)])
    fake_source.rules.append(Fault("blob-get", actions.stall_after(1_000_000)))
    hosts = fake_source.host, fake_destination.host
    command.config({"auth": insecure(*hosts), "images": {f"{hosts[0]}/demo/app": f"{hosts[1]}/mirror/app"}})
    process = command.start("--report", "report.json", "--output-failed-images", "failed.yaml")
    deadline = time.monotonic() + 60
    while not fake_destination.count("upload-patch", "upload-start") and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    finished = command.finish(process)
    assert finished.status == 130, finished.both
    assert "Traceback" not in finished.both
    report = command.report()
    assert report["status"] == "cancelled"
    assert prefect_server.flow_run(report["flow_run_id"])["state_type"] == "CANCELLED"
    assert "v2" not in fake_destination.tags("mirror/app")


def test_the_report_on_standard_output_is_alone_there(
    command: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    digest = fake_source.image("demo/app", "v1", [b"layer"])
    hosts = fake_source.host, fake_destination.host
    command.config({"auth": insecure(*hosts), "images": {f"{hosts[0]}/demo/app": f"{hosts[1]}/mirror/app"}})
    finished = command.run("--report", "-", "--quiet", "--log", "run.log", "--log-level", "debug")
    report = json.loads(finished.out)
    assert report["status"] == "completed"
    assert set(report) == {"flow_run_id", "started", "seconds", "status", "totals", "images"}
    assert report["started"].endswith("Z")
    (image,) = report["images"]
    assert image["digest"] == digest
    assert set(image) == {"source", "destination", "outcome", "digest", "bytes", "seconds", "error"}
    assert finished.err.startswith("completed: 1 copied")
    assert f"{hosts[0]}/demo/app:v1" in (command.folder / "run.log").read_text()


def test_an_image_line_cannot_write_to_the_terminal(
    command: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("demo/app", "v1", [b"layer"])
    body = json.dumps({"errors": [{"code": "DENIED", "message": "\x1b[2Jquota\r\nexceeded"}]}).encode()
    fake_destination.rules.append(Fault("upload-start", actions.respond(403, body)))
    hosts = fake_source.host, fake_destination.host
    command.config({"auth": insecure(*hosts), "images": {f"{hosts[0]}/demo/app": f"{hosts[1]}/mirror/app"}})
    finished = command.run()
    assert finished.status == 1
    assert "quota" in finished.both
    assert "\x1b" not in finished.both
