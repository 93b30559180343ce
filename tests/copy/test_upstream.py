"""A rule that reads what another writes comes after it, in a real run and in a dry one; nothing else waits."""

import asyncio
from typing import Any

import pytest

from imageferry.config import load_text
from imageferry.copy import plan as plan_module
from imageferry.copy.blob_move import BlobMove
from imageferry.copy.engine import Engine
from imageferry.copy.options import Options
from imageferry.copy.runner import LocalRunner
from imageferry.report.outcomes import Report
from testkit.registries import actions
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured, errors, outcomes


async def run_side_by_side(text: str, **options: Any) -> Report:
    """Do a whole run as it goes without Prefect, and return the report."""
    configuration = load_text(text, "config.json", environment={})
    async with Engine(configuration, Options(retries=0, **options), mover=BlobMove.run, environment={}) as engine:
        async with asyncio.timeout(20):
            await LocalRunner(engine).run(configuration.rules)
        return engine.outcomes.report()


class Stages:
    """Rules from a source by way of a stage to an end, written with the reader first."""

    def __init__(self, source: FakeRegistry, registry: FakeRegistry) -> None:
        self.source, self.registry = source, registry
        self.stage, self.end = f"{registry.host}/stage/app", f"{registry.host}/end/app"

    def text(self, written: str = "", read: str = "", **more: Any) -> str:
        images = {f"{self.stage}{read}": self.end, f"{self.source.host}/a/app{written}": self.stage, **more}
        return configured(images, self.source, self.registry)


@pytest.fixture
def stages(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> Stages:
    return Stages(fake_source, fake_destination)


@pytest.mark.parametrize(("written", "read"), [(":v1", ":v1"), ("", ""), (":v1", ""), ("", ":/^v/"), (":/1/", ":/^v/")])
async def test_what_a_rule_writes_is_copied_on_in_the_same_run(stages: Stages, written: str, read: str) -> None:
    old = stages.registry.image("stage/app", "v1", [b"of yesterday"])
    new = stages.source.image("a/app", "v1", [b"of today"])
    stages.source.rules.append(Fault("manifest-get", actions.delay(0.05)))
    report = await run_side_by_side(stages.text(written, read))
    assert outcomes(report) == {f"{stages.stage}:v1": "copied", f"{stages.end}:v1": "copied"}
    assert stages.registry.digest("end/app", "v1") == new != old
    again = await run_side_by_side(stages.text(written, read))
    assert set(outcomes(again).values()) == {"up_to_date"}


async def test_the_first_run_finds_the_repository_that_is_not_there_yet(stages: Stages) -> None:
    tags = {tag: stages.source.image("a/app", tag, [tag.encode()]) for tag in ("v1", "v2")}
    assert errors(await run_side_by_side(stages.text())) == {}
    assert stages.registry.storage.repository("end/app").tags == tags


async def test_a_list_of_before_does_not_count_for_the_rule_that_follows(stages: Stages) -> None:
    # The other rule reads tags that nobody writes, and lists the stage first.
    stages.registry.image("stage/app", "w1")
    stages.source.image("a/app", "v1")
    stages.source.rules.append(Fault("manifest-get", actions.delay(0.1)))
    other = {f"{stages.stage}:/^w/": f"{stages.registry.host}/other/app"}
    report = await run_side_by_side(stages.text(":v1", "", **other))
    assert errors(report) == {}
    assert stages.registry.tags("end/app") == ["v1", "w1"]
    assert stages.registry.tags("other/app") == ["w1"]


async def test_where_the_first_fails_what_is_there_is_copied(stages: Stages) -> None:
    held = stages.registry.image("stage/app", "v1", [b"of yesterday"])
    stages.source.image("a/app", "v1", [b"of today"])
    stages.source.rules.append(Fault("blob-get", actions.refuse(404, "BLOB_UNKNOWN")))
    report = await run_side_by_side(stages.text(":v1", ":v1"))
    assert outcomes(report) == {f"{stages.stage}:v1": "failed", f"{stages.end}:v1": "copied"}
    assert stages.registry.digest("end/app", "v1") == held


async def test_a_rule_that_cannot_be_listed_does_not_hold_those_that_follow(stages: Stages) -> None:
    held = stages.registry.image("stage/app", "v1")
    report = await run_side_by_side(stages.text())
    assert outcomes(report) == {stages.stage: "failed", f"{stages.end}:v1": "copied"}
    assert stages.registry.digest("end/app", "v1") == held


async def test_more_rules_wait_than_are_planned_at_once(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "RULES_PLANNED_AT_ONCE", 2)
    digest = fake_source.image("r/0", "v1")
    # Each reads what the one after it in the file writes.
    names = [f"{fake_destination.host}/r/{number}" for number in range(8, 0, -1)] + [f"{fake_source.host}/r/0"]
    images = {names[n]: f"{fake_destination.host}/r/{9 - n}" for n in range(9)}
    report = await run_side_by_side(configured(images, fake_source, fake_destination))
    assert errors(report) == {}
    assert fake_destination.digest("r/9", "v1") == digest


async def test_a_rule_is_copied_while_another_is_not_planned_yet(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for name in ("slow", "quick"):
        fake_source.image(name, "v1")
    fake_source.rules.append(Fault(Match("tags", path="/slow/"), actions.delay(600)))
    images = {f"{fake_source.host}/{name}": f"{fake_destination.host}/{name}" for name in ("slow", "quick")}
    configuration = load_text(configured(images, fake_source, fake_destination), "config.json", environment={})
    async with Engine(configuration, Options(), environment={}) as engine:
        running = asyncio.create_task(LocalRunner(engine).run(configuration.rules))
        async with asyncio.timeout(10):
            # The tag may be there a moment before its outcome is recorded.
            while not engine.outcomes.report().totals.copied:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        engine.give_up_rest(configuration.rules)
        found = outcomes(engine.outcomes.report())
    assert found[f"{fake_destination.host}/quick:v1"] == "copied"
    assert found[f"{fake_destination.host}/slow"] == "failed"


async def test_what_waits_is_reported_when_the_run_is_stopped(stages: Stages) -> None:
    stages.source.image("a/app", "v1")
    stages.source.rules.append(Fault("blob-get", actions.delay(600)))
    configuration = load_text(stages.text(), "config.json", environment={})
    async with Engine(configuration, Options(), environment={}) as engine:
        running = asyncio.create_task(LocalRunner(engine).run(configuration.rules))
        async with asyncio.timeout(10):
            while not stages.source.count("manifest-get"):
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        engine.give_up_rest(configuration.rules)
        found = engine.outcomes.report()
    assert outcomes(found) == {f"{stages.stage}:v1": "failed", stages.end: "failed"}
    assert all("interrupted" in error for error in errors(found).values())


async def test_a_stop_ends_the_wait_for_plans(stages: Stages) -> None:
    stages.source.rules.append(Fault("tags", actions.delay(600)))
    configuration = load_text(stages.text(), "config.json", environment={})
    async with Engine(configuration, Options(), environment={}) as engine:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, stop.set)
        async with asyncio.timeout(5):
            assert [rule async for rule in engine.as_planned(configuration.rules, stop)] == []
        engine.give_up_rest(configuration.rules)


class TestInADryRun:
    @pytest.mark.parametrize(("written", "read"), [(":v1", ":v1"), ("", ""), (":v1", ""), ("", ":/^v/")])
    async def test_a_rule_sees_what_the_first_would_write(self, stages: Stages, written: str, read: str) -> None:
        digest = stages.source.image("a/app", "v1")
        report = await run_side_by_side(stages.text(written, read), dry_run=True)
        assert {(image.destination, image.outcome.value, image.digest) for image in report.images} == {
            (f"{stages.stage}:v1", "would_copy", digest),
            (f"{stages.end}:v1", "would_copy", digest),
        }
        assert stages.registry.storage.repositories.get("end/app") is None
        assert stages.registry.count("manifest-put", "upload-start") == 0

    async def test_and_what_is_there_besides(self, stages: Stages) -> None:
        new = stages.source.image("a/app", "v1", [b"new"])
        for tag in ("v1", "v2"):
            stages.registry.image("stage/app", tag, [b"old"])
        # It has what will be on the stage, and not what is there.
        stages.registry.image("end/app", "v1", [b"new"])
        report = await run_side_by_side(stages.text(), dry_run=True)
        assert outcomes(report) == {
            f"{stages.stage}:v1": "would_copy",
            f"{stages.end}:v1": "up_to_date",
            f"{stages.end}:v2": "would_copy",
        }
        assert {image.digest for image in report.images if image.destination.endswith("end/app:v1")} == {new}

    async def test_a_filter_is_applied_to_what_would_be_there(self, stages: Stages) -> None:
        children = [stages.source.image("a/app", None, [bytes([n])]) for n in range(2)]
        stages.source.index("a/app", "v1", children)
        images = [
            {"from": f"{stages.source.host}/a/app:v1", "to": stages.stage},
            {"from": f"{stages.stage}:v1", "to": stages.end, "platforms": ["linux/amd64"]},
        ]
        text = configured(images, stages.source, stages.registry)
        foreseen = {image.destination: image.digest for image in (await run_side_by_side(text, dry_run=True)).images}
        done = {image.destination: image.digest for image in (await run_side_by_side(text)).images}
        assert foreseen == done

    async def test_what_would_fail_is_not_foreseen(self, stages: Stages) -> None:
        report = await run_side_by_side(stages.text(":v1", ":v1"), dry_run=True)
        assert outcomes(report) == {f"{stages.stage}:v1": "failed", f"{stages.end}:v1": "failed"}
