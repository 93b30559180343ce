"""What cannot be written stops no copying, takes no other output with it, and is reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.outputs import write_outputs
from cli.request import Request
from cli.standard_streams import TolerantStream
from imageferry.report.outcomes import Outcomes
from testkit.command_line import CommandLine, insecure
from testkit.killing import wait_until
from testkit.registries.inprocess import FakeRegistry

TAGS = 3


@pytest.fixture
def run(without_prefect: CommandLine, fake_source: FakeRegistry, fake_destination: FakeRegistry) -> CommandLine:
    """A command line with a configuration of a few tags."""
    for number in range(TAGS):
        fake_source.image("demo/app", f"v{number}", [f"own {number}".encode()])
    hosts = fake_source.host, fake_destination.host
    without_prefect.config({"auth": insecure(*hosts), "images": {f"{hosts[0]}/demo/app": f"{hosts[1]}/mirror/app"}})
    return without_prefect


def in_shell(command: CommandLine, rest: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with the rest of a shell's line."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m flows.sync --no-history {rest}"],
        cwd=command.folder,
        env=command.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_each_output_is_written_by_itself_and_the_summary_always(
    run: CommandLine, fake_destination: FakeRegistry
) -> None:
    finished = run.run(
        "--no-history", "--report", "/dev/full", "--output-success-images", "copied.yaml",
        "--output-failed-images", "failed.yaml", "--log", "/dev/full", "--quiet", "-p6", "-r", "0",
    )  # fmt: skip
    assert finished.status == 1, finished.both
    assert finished.err.splitlines() == [
        "imageferry: --report /dev/full could not be written: No space left on device",
        "imageferry: --log /dev/full could not be written: No space left on device",
    ]
    assert f"completed: {TAGS} copied" in finished.out
    assert len(fake_destination.tags("mirror/app")) == TAGS
    assert (run.folder / "copied.yaml").read_text().count("mirror/app:v") == TAGS
    assert (run.folder / "failed.yaml").read_text() == "{}\n"


@pytest.mark.parametrize(
    "rest", ["2>&1 | head -1; exit ${PIPESTATUS[0]}", "2>&- >&- <&-", "--log-level debug 2>/dev/full >/dev/full"]
)
def test_streams_that_take_nothing_stop_no_copying(run: CommandLine, fake_destination: FakeRegistry, rest: str) -> None:
    assert in_shell(run, f"--report report.json {rest}").returncode == 0
    assert run.report()["totals"]["copied"] == TAGS
    assert len(fake_destination.tags("mirror/app")) == TAGS


def test_a_configuration_comes_through_a_pipe_and_the_report_is_alone_on_dev_stdout(run: CommandLine) -> None:
    finished = in_shell(run, "--config <(cat config.json) --report /dev/stdout --quiet > out.json")
    assert finished.returncode == 0, finished.stderr
    assert json.loads((run.folder / "out.json").read_text())["totals"]["copied"] == TAGS
    assert finished.stderr.startswith("completed")


def test_a_report_on_a_standard_output_that_takes_nothing_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    with TolerantStream(open("/dev/full", "wb", buffering=0)) as full:
        monkeypatch.setattr(sys, "stdout", full)
        problems = write_outputs(Request(report=Path("-")), Outcomes().report())
    assert problems == ["--report - could not be written: No space left on device"]


def test_a_pipe_that_nobody_writes_ends_with_the_interrupt(without_prefect: CommandLine) -> None:
    pipe = without_prefect.folder / "pipe.json"
    os.mkfifo(pipe)
    process = without_prefect.start("--no-history", "--config", "pipe.json")
    # It waits in open(2) for a writer.
    wait_until(lambda: "fifo" in _where(process.pid) or "wait_for_partner" in _where(process.pid), "the pipe")
    process.send_signal(signal.SIGINT)
    finished = without_prefect.finish(process)
    assert (finished.status, finished.out, finished.err) == (130, "", "")


def _where(pid: int) -> str:
    return Path(f"/proc/{pid}/wchan").read_text()
