"""That a run says what it waits for: once where lines are written, until it is over where there is a picture."""

import io
import logging
import re
import time

import pytest
from rich.console import Console

from cli.terminal.progress import LineProgress, LiveProgress, NoProgress
from imageferry.report.outcomes import Outcomes
from imageferry.report.waits import RENEWAL_LIMIT, SHORTEST_REPORTED, Wait, Waits

WHY = "its request limit is reached"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of day, in its one item."""
    now = [1_750_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def test_each_wait_is_told_once(clock: list[float]) -> None:
    waits, told = Waits(), list[Wait]()
    waits.listeners.append(told.append)
    for _ in range(100):
        waits.add("quay.io", 30, WHY)
        waits.add("docker.io", 30, WHY)
        clock[0] += 1
    assert [wait.registry for wait in told] == ["quay.io", "docker.io"]
    waits.add("quay.io", 30, "it answers 503")
    assert str(told[-1]).endswith("it answers 503")
    clock[0] += 30 + RENEWAL_LIMIT + 1
    waits.add("quay.io", 30, "it answers 503")
    assert len(told) == 4
    waits.clear("quay.io")
    waits.add("quay.io", 30, "it answers 503")
    assert len(told) == 5


def test_what_is_short_is_not_told(clock: list[float]) -> None:
    waits, told = Waits(), list[Wait]()
    waits.listeners.append(told.append)
    waits.add("quay.io", SHORTEST_REPORTED - 0.1, WHY)
    assert (told, list(waits.now())) == ([], [])


def test_a_wait_is_over_in_its_time_or_before(clock: list[float]) -> None:
    waits = Waits()
    waits.add("quay.io", 30, WHY)
    waits.add("docker.io", 300, WHY)
    assert [wait.registry for wait in waits.now()] == ["quay.io", "docker.io"]
    clock[0] += 31
    assert [wait.registry for wait in waits.now()] == ["docker.io"]
    waits.clear("docker.io")
    assert list(waits.now()) == []


def test_the_end_is_a_time_of_day(clock: list[float]) -> None:
    soon = Wait("quay.io", WHY, clock[0] + 60)
    assert re.fullmatch(rf"waiting for quay\.io until \d\d:\d\d:\d\d: {WHY}", str(soon))
    far = Wait("quay.io", WHY, clock[0] + 13 * 3600)
    assert re.search(r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", str(far))


def test_lines_and_the_log_have_a_line_each(caplog: pytest.LogCaptureFixture) -> None:
    stream, outcomes = io.StringIO(), Outcomes()
    LineProgress(stream).watch(outcomes)
    with caplog.at_level(logging.INFO, "imageferry"):
        for _ in range(3):
            outcomes.waits.add("quay.io", 60, WHY)
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("waiting for quay.io until ")
    assert [record.message for record in caplog.records] == [line]


def test_quiet_says_nothing() -> None:
    stream, outcomes = io.StringIO(), Outcomes()
    NoProgress(stream).watch(outcomes)
    outcomes.waits.add("quay.io", 60, WHY)
    assert stream.getvalue() == ""


def test_the_picture_shows_it_while_it_lasts() -> None:
    progress, outcomes = LiveProgress(io.StringIO()), Outcomes(planned=5)
    progress.watch(outcomes)

    def shown() -> str:
        console = Console(file=io.StringIO(), width=120)
        with console.capture() as captured:
            console.print(progress._picture())
        return captured.get()

    assert "waiting" not in shown()
    outcomes.waits.add("quay.io", 60, WHY)
    assert "waiting for quay.io until " in shown()
    outcomes.waits.clear("quay.io")
    assert "waiting" not in shown()
