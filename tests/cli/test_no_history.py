"""`--no-history`: the engine alone, as on a machine that has no Prefect."""

import ctypes
import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from testkit.command_line import CommandLine, insecure
from testkit.killing import wait_until
from testkit.registries import actions
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry


def configure(command: CommandLine, source: FakeRegistry, destination: FakeRegistry, *tags: str) -> None:
    """Have the repository copied, or only these tags."""
    hosts = source.host, destination.host
    name = f"{hosts[0]}/demo/app" + (":" + ",".join(tags) if tags else "")
    command.config({"auth": insecure(*hosts), "images": {name: f"{hosts[1]}/mirror/app"}})


def test_a_run_needs_no_prefect(
    without_prefect: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for number in range(5):
        fake_source.image("demo/app", f"v{number}", [b"shared", f"own {number}".encode()])
    configure(without_prefect, fake_source, fake_destination)
    finished = without_prefect.run("--no-history", "--report", "report.json", "--log", "run.log")
    assert finished.status == 0, finished.both
    assert "completed: 5 copied" in finished.out
    assert len([line for line in finished.err.splitlines() if line.startswith("copied")]) == 5
    assert len(finished.err.splitlines()) == 5
    report = without_prefect.report()
    assert report["flow_run_id"] is None
    assert report["status"] == "completed"
    assert not (without_prefect.folder / "prefect").exists(), "a server was started"
    assert "copied" in (without_prefect.folder / "run.log").read_text()
    again = without_prefect.run("--no-history", "--report", "-", "--quiet")
    assert json.loads(again.out)["totals"]["up_to_date"] == 5


@pytest.mark.parametrize(("retries", "status"), [("1", 0), ("0", 1)])
def test_a_blob_is_tried_again_as_often_as_asked(
    without_prefect: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry, retries: str, status: int
) -> None:
    layer = os.urandom(1_000_000)
    fake_source.image("demo/app", "v1", [layer])
    # An upload goes on after three breaks in a row; after four it is tried again as a whole.
    fake_destination.rules.append(Fault(Match("upload-patch"), actions.respond(503), times=4))
    configure(without_prefect, fake_source, fake_destination)
    finished = without_prefect.run("--no-history", "--retries", retries)
    assert finished.status == status, finished.both
    assert fake_destination.count("upload-patch") == 4 + int(retries)
    assert ("503" in finished.out) == (status == 1)


def test_what_cannot_heal_is_not_tried_again(
    without_prefect: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("demo/app", "v1", [b"layer"])
    fake_destination.rules.append(Fault("upload-start", actions.respond(403)))
    configure(without_prefect, fake_source, fake_destination)
    finished = without_prefect.run("--no-history")
    assert finished.status == 1
    assert "403" in finished.out
    # One for the layer and one for the config.
    assert fake_destination.count("upload-start") == 2


def test_one_bad_image_and_one_bad_rule_cost_only_themselves(
    without_prefect: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    images = 300
    for number in range(images):
        fake_source.image("demo/app", f"v{number}", [b"shared"])
    fake_source.rules.append(Fault(Match("manifest-get", path="demo/app/manifests/v7$"), actions.html()))
    fake_source.rules.append(Fault(Match("tags", path="demo/broken"), actions.respond(200, b"no JSON")))
    hosts = fake_source.host, fake_destination.host
    rules = {f"{hosts[0]}/demo/{name}": f"{hosts[1]}/mirror/{name}" for name in ("broken", "app")}
    without_prefect.config({"auth": insecure(*hosts), "images": rules})
    finished = without_prefect.run("--no-history", "--quiet", "--report", "report.json")
    assert finished.status == 1
    report = without_prefect.report()
    assert Counter(image["outcome"] for image in report["images"]) == {"copied": images - 1, "failed": 2}
    failed = {image["source"] for image in report["images"] if image["outcome"] == "failed"}
    assert failed == {f"{hosts[0]}/demo/broken", f"{hosts[0]}/demo/app:v7"}
    assert len(fake_destination.tags("mirror/app")) == images - 1


def test_two_runs_of_one_rule_at_once_end_in_the_right_state(
    without_prefect: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    layer = os.urandom(3_000_000)
    digests = {f"v{n}": fake_source.image("demo/app", f"v{n}", [layer, os.urandom(600_000)]) for n in range(6)}
    configure(without_prefect, fake_source, fake_destination)
    fake_source.rules.append(Fault("blob-get", actions.delay(0.2)))
    first, second = (without_prefect.start("--no-history", "--quiet") for _ in range(2))
    for process in (first, second):
        finished = without_prefect.finish(process)
        assert finished.status == 0, finished.both
    assert sorted(fake_destination.tags("mirror/app")) == sorted(digests)
    for tag, digest in digests.items():
        assert fake_destination.digest("mirror/app", tag) == digest
    assert not fake_destination.storage.uploads


def start_and_reach(command: CommandLine, destination: FakeRegistry, *arguments: str) -> "subprocess.Popen[str]":
    """Start a run, and wait until bytes of an upload have come."""
    process = command.start("--report", "report.json", "--output-failed-images", "failed.yaml", *arguments)
    wait_until(lambda: any(entry.bytes_in for entry in destination.log.entries("upload-patch")), "an upload")
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_drops_uploads_and_tells_what_was_not_reached(
    without_prefect: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry, number: signal.Signals
) -> None:
    for tag in range(20):
        fake_source.image("demo/app", f"v{tag}", [os.urandom(2_000_000)])
    fake_source.rules.append(Fault("blob-get", actions.stall_after(1_000_000), skip=3))
    configure(without_prefect, fake_source, fake_destination)
    process = start_and_reach(without_prefect, fake_destination, "--no-history")
    begun = time.monotonic()
    # GNU timeout signals the process and then its group: two of one kind within a moment are one.
    for _ in range(2):
        process.send_signal(number)
    finished = without_prefect.finish(process)
    assert time.monotonic() - begun < 10
    assert finished.status == 130, finished.both
    assert "Traceback" not in finished.both
    assert not fake_destination.storage.uploads, "sessions are left"
    report = without_prefect.report()
    assert report["status"] == "cancelled"
    left = [image for image in report["images"] if image["outcome"] == "failed"]
    assert left
    assert all("interrupted" in image["error"] for image in left)
    assert len(report["images"]) == 20
    copied = {image["source"] for image in report["images"] if image["outcome"] == "copied"}

    fake_source.rules.clear()
    auth = json.loads((without_prefect.folder / "config.json").read_text())["auth"]
    without_prefect.config(auth, "auth.json")
    healed = without_prefect.run(
        "--no-history", "--auth", "auth.json", "--images", "failed.yaml", "--report", "report.json"
    )
    assert healed.status == 0, healed.both
    assert len(fake_destination.tags("mirror/app")) == 20
    assert not copied & {image["source"] for image in without_prefect.report()["images"]}


def start_comparing(
    command: CommandLine, source: FakeRegistry, destination: FakeRegistry, *arguments: str
) -> "subprocess.Popen[str]":
    """Start a run that waits for a list of tags which never comes."""
    source.image("demo/app", "v1", [b"layer"])
    source.rules.append(Fault("tags", actions.delay(3600)))
    configure(command, source, destination)
    process = command.start("--no-history", "--report", "report.json", *arguments)
    wait_until(lambda: source.count("tags"), "the list of tags")
    return process


def test_an_interrupt_that_wakes_another_thread_is_taken(
    without_prefect: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    process = start_comparing(without_prefect, fake_source, fake_destination)
    # The system gives a signal to any thread, and Python heeds it in the main one, which is not woken by that.
    others = [int(thread.name) for thread in Path(f"/proc/{process.pid}/task").iterdir()]
    others.remove(process.pid)
    assert ctypes.CDLL(None).tgkill(process.pid, min(others), signal.SIGINT) == 0
    begun = time.monotonic()
    finished = without_prefect.finish(process)
    assert finished.status == 130, finished.both
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_while_rules_are_compared_names_them_whole(
    without_prefect: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry, number: signal.Signals
) -> None:
    process = start_comparing(without_prefect, fake_source, fake_destination, "--output-failed-images", "failed.yaml")
    begun = time.monotonic()
    process.send_signal(number)
    finished = without_prefect.finish(process)
    assert finished.status == 130, finished.both
    assert time.monotonic() - begun < 10
    (image,) = without_prefect.report()["images"]
    assert "interrupted" in image["error"]
    assert f"{fake_source.host}/demo/app:" in (without_prefect.folder / "failed.yaml").read_text()


def test_a_registry_that_answers_nothing_cannot_hold_an_interrupt(
    without_prefect: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("demo/app", "v1", [os.urandom(2_000_000)])
    fake_source.rules.append(Fault("blob-get", actions.stall_after(1_000_000)))
    fake_destination.rules.append(Fault("upload-cancel", actions.delay(3600)))
    configure(without_prefect, fake_source, fake_destination)
    process = start_and_reach(without_prefect, fake_destination, "--no-history")
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    finished = without_prefect.finish(process)
    assert time.monotonic() - begun < 10
    assert finished.status == 130, finished.both
    assert fake_destination.count("upload-cancel") >= 1


def test_a_second_signal_ends_at_once(
    without_prefect: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("demo/app", "v1", [os.urandom(2_000_000)])
    fake_source.rules.append(Fault("blob-get", actions.stall_after(1_000_000)))
    fake_destination.rules.append(Fault("upload-cancel", actions.delay(3600)))
    configure(without_prefect, fake_source, fake_destination)
    process = start_and_reach(without_prefect, fake_destination, "--no-history")
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    wait_until(lambda: fake_destination.count("upload-cancel"), "the end of the upload session")
    # Within a second it would be the first one again.
    time.sleep(max(0.0, begun + 1.1 - time.monotonic()))
    process.send_signal(signal.SIGINT)
    finished = without_prefect.finish(process)
    assert finished.status == 130
    assert not (without_prefect.folder / "report.json").exists()


def test_a_dry_run_says_which_tags_rules_choose(
    without_prefect: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("demo/app", "1.0", [b"one"])
    for tag in ("1.1", "1.2-rc1", "bookworm"):
        fake_source.tag("demo/app", tag, "1.0")
    name, to = f"{fake_source.host}/demo/app", f"{fake_destination.host}/mirror/app"
    entries = [
        {"from": name, "to": to, "tags": {"newest": 1}},
        {"from": name, "to": f"{to}-2", "tags": {"at_least": 9}},
    ]
    without_prefect.config({"auth": insecure(fake_source.host, fake_destination.host), "images": entries})
    words = ["--log", "run.log", "--log-level", "debug", "--report", "report.json"]
    finished = without_prefect.run("--no-history", "--dry-run", *words, "--output-failed-images", "failed.yaml")
    assert finished.status == 1
    line = f"{name}: 4 tags; no version 3, no pre-releases 2, newest 1: 1 selected"
    assert f"{line}\n  dropped as no version: 1 (bookworm)\n" in finished.out
    assert f"{name}: 4 tags: 4 selected: at least 9 are wanted (at_least)" in finished.out
    log = (without_prefect.folder / "run.log").read_text()
    assert f"INFO    {line}; dropped as no version: 1 (bookworm)\n" in log
    assert f"DEBUG   {name}: dropped by newest: 1.0\n" in log
    (selection,) = without_prefect.report()["selections"]
    assert (selection["rule"], selection["listed"], selection["selected"]) == (name, 4, 1)
    failed = (without_prefect.folder / "failed.yaml").read_text()
    assert failed == f"- from: {name}\n  to: {to}-2\n  tags:\n    at_least: 9\n"
