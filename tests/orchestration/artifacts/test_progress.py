"""The progress that Prefect shows of a long run."""

import asyncio
import re
from typing import Any
from uuid import UUID, uuid4

import pytest

from imageferry.config import load_text
from imageferry.copy.engine import Engine
from imageferry.copy.job import CopyJob
from imageferry.copy.options import Options
from imageferry.reference import Reference
from imageferry.report.outcomes import ImageOutcome, Outcome, Outcomes
from imageferry.selection import PlatformFilter
from orchestration.artifacts import progress
from orchestration.run_context import RunContext


class Shelf:
    """Where artifacts are put in place of Prefect's server; `fails` refuses them."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.made: list[float] = []
        self.moved: list[float] = []
        self.changed = asyncio.Event()

    async def create(self, percent: float, key: str, description: str) -> UUID:
        self.made.append(percent)
        self.changed.set()
        if self.fails:
            raise RuntimeError("the database is locked")
        return uuid4()

    async def update(self, identity: UUID, percent: float, description: str) -> None:
        self.moved.append(percent)
        self.changed.set()


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    shelf = Shelf()
    monkeypatch.setattr(progress, "acreate_progress_artifact", shelf.create)
    monkeypatch.setattr(progress, "aupdate_progress_artifact", shelf.update)
    return shelf


@pytest.fixture
def run() -> RunContext:
    configuration = load_text('{"images": {"quay.io/a/app": "b.example/app"}}', "c.json", environment={})
    run = RunContext(Engine(configuration, Options(), environment={}))
    source = Reference.parse("quay.io/a/app:v1")
    run.work["quay.io/a/app"] = {"v1": CopyJob(source, (Reference.parse("b.example/app:v1"),), PlatformFilter())}
    run.engine.outcomes.planned = 4
    return run


def copied(outcomes: Outcomes) -> None:
    outcomes.add(ImageOutcome("quay.io/a/app:v1", "b.example/app:v1", Outcome.COPIED))


async def test_a_long_run_moves_one_artifact_to_its_end(
    shelf: Shelf, run: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.01)
    async with progress.show_progress(run):
        await asyncio.wait_for(shelf.changed.wait(), 10)
        # A subflow within it has none of its own.
        async with progress.show_progress(run):
            shelf.changed.clear()
            copied(run.engine.outcomes)
            await asyncio.wait_for(shelf.changed.wait(), 10)
        for _ in range(3):
            copied(run.engine.outcomes)
    assert shelf.made == [0.0]
    assert set(shelf.moved) <= {0.0, 25.0, 100.0}
    assert shelf.moved[-1] == 100.0


async def test_a_short_run_and_one_that_is_up_to_date_have_none(
    shelf: Shelf, run: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with progress.show_progress(run):
        copied(run.engine.outcomes)
    run.work.clear()
    monkeypatch.setattr(progress, "EVERY", 0.001)
    looks = 0

    def worth_showing(run: RunContext) -> bool:
        nonlocal looks
        looks += 1
        return original(run)

    original = progress._worth_showing
    monkeypatch.setattr(progress, "_worth_showing", worth_showing)
    async with progress.show_progress(run):
        while looks < 5:
            await asyncio.sleep(0)
    assert shelf.made == shelf.moved == []


async def test_a_server_that_refuses_it_costs_the_run_nothing(
    shelf: Shelf, run: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.fails = True
    monkeypatch.setattr(progress, "EVERY", 0.01)
    async with progress.show_progress(run):
        await asyncio.wait_for(shelf.changed.wait(), 10)
    assert (shelf.made, shelf.moved) == ([0.0], [])


def test_it_says_how_far_the_run_is(run: RunContext) -> None:
    outcomes: Any = run.engine.outcomes
    outcomes.totals.bytes_written = 3_100_000
    outcomes.totals.failed = 2
    outcomes.active_blobs["sha256:" + "a1" * 32] = (1_000_000, 5_000_000)
    outcomes.waits.add("docker.io", 90, "too many requests")
    copied(outcomes)
    assert progress.percent_done(outcomes) == 25.0
    told = progress.describe_progress(outcomes, 500_000).split("\n")
    # A run that was killed has it for ever: it says when this was.
    assert re.fullmatch(
        r"1 of 4 images, 3\.1 MB sent \(500 kB/s\), \*\*2 failed\*\*, at [0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8} UTC",
        told[0],
    )
    assert told[1] == "- blob a1a1a1a1a1a1: 1.0 MB of 5.0 MB"
    assert told[2].startswith("- waiting for docker.io until ")
    assert progress.percent_done(Outcomes()) == 0.0
    # At the end nothing moves and nothing waits.
    ended = progress.describe_progress(outcomes, None)
    assert re.fullmatch(r"1 of 4 images, 3\.1 MB sent, \*\*2 failed\*\*, ended [0-9]{4}-[0-9-]+ [0-9:]{8} UTC", ended)
