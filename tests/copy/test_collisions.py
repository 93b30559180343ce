"""Tags that several rules would write: none wins by chance."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imageferry.config import Files, load, load_text
from imageferry.config.failed_rules import rules_to_run_again
from imageferry.copy import plan as plan_module
from imageferry.copy.batches import split_into_batches
from imageferry.copy.blob_move import BlobMove
from imageferry.copy.engine import Engine
from imageferry.copy.options import Options
from imageferry.copy.runner import LocalRunner
from imageferry.model import Configuration, Rule
from imageferry.report.files import format_document
from imageferry.selection import TagPattern
from testkit.registries import actions
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured, errors, outcomes
from tests.copy.test_upstream import run_side_by_side


class Two:
    """Two source repositories with tags of the same names, and one repository to which rules write."""

    def __init__(self, source: FakeRegistry, destination: FakeRegistry) -> None:
        self.source, self.destination = source, destination
        self.one, self.two = f"{source.host}/one/app", f"{source.host}/two/app"
        self.to = f"{destination.host}/all/app"
        self.digests = {
            (name, tag): source.image(f"{name}/app", tag, [f"{name} {tag}".encode()])
            for name, tags in (("one", ("3.6", "1")), ("two", ("3.6", "2")))
            for tag in tags
        }

    def text(self, *entries: tuple[str, Any], **more: Any) -> str:
        images = [{"from": source, "to": to, **more} for source, to in entries]
        return configured(images, self.source, self.destination)

    @property
    def held(self) -> dict[str, str]:
        return dict(self.destination.storage.repository("all/app").tags)


@pytest.fixture
def two(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> Two:
    return Two(fake_source, fake_destination)


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(("first", "second"), [("", ""), (":/./", ""), (":/^3/", ":/6$/")])
async def test_a_tag_that_two_rules_find_is_written_by_none(two: Two, first: str, second: str, dry_run: bool) -> None:
    report = await run_side_by_side(two.text((two.one + first, two.to), (two.two + second, two.to)), dry_run=dry_run)
    failed = [image for image in report.images if image.outcome == "failed"]
    assert {(image.source, image.destination) for image in failed} == {
        (f"{two.one}:3.6", f"{two.to}:3.6"),
        (f"{two.two}:3.6", f"{two.to}:3.6"),
    }
    for image in failed:
        assert two.one + first in (image.error or "")
        assert two.two + second in (image.error or "")
    assert "3.6" not in two.held
    others = {image.destination.rpartition(":")[2] for image in report.images if image.outcome != "failed"}
    assert others == set(two.held) if not dry_run else two.held == {}
    assert report.status == "failed"


@pytest.mark.parametrize("platforms", [{}, {"platforms": ["linux/*"]}])
async def test_the_rules_of_a_collision_can_be_run_again(
    two: Two, tmp_path: Path, platforms: dict[str, list[str]]
) -> None:
    entries = (two.one, two.to), (f"{two.two}:/^[23]/", two.to), (f"{two.one}:none", f"{two.to}-2")
    await run_side_by_side(two.text(*entries, **platforms))
    report = await run_side_by_side(two.text(*entries, **platforms))
    (tmp_path / "failed.json").write_text(format_document(rules_to_run_again(report), "json"))
    again = load(Files(images=tmp_path / "failed.json"), environment={}).rules
    assert {(rule.name, rule.destinations[0].repository.name) for rule in again} == {
        (two.one, two.to),
        (f"{two.two}:/^[23]/", two.to),
        (f"{two.one}:none", f"{two.to}-2"),
    }
    assert len(again) == 3
    assert {str(each) for rule in again for each in rule.platforms.platforms} == set(platforms.get("platforms", []))


async def test_none_is_written_however_late_the_other_is_listed(two: Two) -> None:
    two.source.rules.append(Fault(Match("tags", path="/two/"), actions.delay(0.2)))
    report = await run_side_by_side(two.text((two.one, two.to), (two.two, two.to)))
    assert two.held == {"1": two.digests["one", "1"], "2": two.digests["two", "2"]}
    assert len(errors(report)) == 1


async def test_what_is_at_both_sources_alike_is_written_once(two: Two) -> None:
    digest = two.source.image("one/app", "3.6", [b"the same"])
    two.source.image("two/app", "3.6", [b"the same"])
    report = await run_side_by_side(two.text((two.one, two.to), (two.two, two.to)))
    assert outcomes(report) == {f"{two.to}:{tag}": "copied" for tag in ("1", "2", "3.6")}
    assert two.held["3.6"] == digest
    assert [entry.path[-4:] for entry in two.destination.log.entries("manifest-put")].count("/3.6") == 1


async def test_what_is_at_both_sources_alike_but_filtered_differently_is_not(two: Two) -> None:
    for name in ("one", "two"):
        two.source.image(f"{name}/app", "3.6", [b"the same"])
    images = [{"from": two.one, "to": two.to}, {"from": two.two, "to": two.to, "platforms": ["linux/amd64"]}]
    report = await run_side_by_side(configured(images, two.source, two.destination))
    assert "different images" in errors(report)[f"{two.to}:3.6"]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("named", ["{two}:3.6|{to}", "{two}:2|{to}:3.6", "{two}:3.6|other.example/x,{to}"])
async def test_a_tag_that_a_rule_names_is_that_rules(two: Two, named: str, order: int) -> None:
    source, _, to = named.format(two=two.two, to=two.to).partition("|")
    targets = [each.replace("other.example", two.destination.host) for each in to.split(",")]
    report = await run_side_by_side(two.text(*[(two.one, two.to), (source, targets)][::order]))
    assert errors(report) == {}
    wanted = two.digests["two", source.rpartition(":")[2]]
    assert two.held == {"1": two.digests["one", "1"], "3.6": wanted}
    (note,) = report.notes
    assert note == f"rule {two.one} leaves {two.to}:3.6 to rule {source}, which names that tag"


async def test_that_is_noted_once_for_each_pair_of_rules(two: Two) -> None:
    report = await run_side_by_side(two.text((two.one, two.to), (f"{two.two}:3.6,2", f"{two.to}:3.6,1")))
    assert len(report.notes) == 1
    assert two.held == {"3.6": two.digests["two", "3.6"], "1": two.digests["two", "2"]}


@pytest.mark.parametrize("sources", [("{one}:1", "{one}:1"), ("{one}", "{one}:1"), ("{one}:1", "{one}"),
                                     ("{one}", "{one}"), ("{one}:/1/", "{one}")])  # fmt: skip
async def test_an_image_that_two_rules_write_alike_is_done_and_asked_for_once(
    two: Two, sources: tuple[str, str]
) -> None:
    first, second = (each.format(one=two.one) for each in sources)
    text = two.text((first, two.to), (second, two.to))
    report = await run_side_by_side(text)
    assert outcomes(report)[f"{two.to}:1"] == "copied"
    assert (errors(report), report.notes) == ({}, [])
    two.destination.clear_log()
    two.source.clear_log()
    again = await run_side_by_side(text)
    assert outcomes(again)[f"{two.to}:1"] == "up_to_date"
    for registry in (two.source, two.destination):
        heads = [entry.path.rpartition("/")[2] for entry in registry.log.entries("manifest-head")]
        assert heads.count("1") == 1
        assert len(heads) == len(set(heads))


async def test_a_destination_that_a_rule_names_twice_is_written_once(two: Two) -> None:
    report = await run_side_by_side(two.text((f"{two.one}:1", [two.to, f"{two.to}:1"])))
    assert outcomes(report) == {f"{two.to}:1": "copied"}
    assert two.destination.count("manifest-put") == 1


async def test_only_the_shared_destination_of_several_is_left(two: Two) -> None:
    own = f"{two.destination.host}/own/app"
    report = await run_side_by_side(two.text((two.one, [two.to, own]), (two.two, two.to)))
    assert set(errors(report)) == {f"{two.to}:3.6"}
    assert two.destination.tags("own/app") == ["1", "3.6"]
    assert sorted(two.held) == ["1", "2"]


async def test_a_rule_that_cannot_be_listed_fails_by_itself(two: Two) -> None:
    two.source.rules.append(Fault(Match("tags", path="/two/"), actions.refuse(403, "DENIED")))
    report = await run_side_by_side(two.text((two.one, two.to), (two.two, two.to)))
    assert outcomes(report) == {two.to: "failed", f"{two.to}:1": "copied", f"{two.to}:3.6": "copied"}


async def test_more_rules_share_a_repository_than_are_planned_at_once(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "RULES_PLANNED_AT_ONCE", 2)
    for number in range(6):
        two.source.image(f"more/{number}", f"t{number}")
    entries = [(f"{two.source.host}/more/{number}", two.to) for number in range(6)]
    report = await run_side_by_side(two.text(*entries))
    assert errors(report) == {}
    assert sorted(two.held) == [f"t{number}" for number in range(6)]


async def test_a_rule_that_shares_with_the_one_that_it_follows_does_not_wait_for_ever(two: Two) -> None:
    # The second reads what the first writes, and both write to one more repository.
    stage = f"{two.destination.host}/stage/app"
    text = two.text((two.one, [stage, two.to]), (stage, two.to))
    report = await run_side_by_side(text)
    assert errors(report) == {}
    assert two.held == {tag: two.digests["one", tag] for tag in ("1", "3.6")}
    assert len(report.images) == 4


async def test_rules_without_a_shared_repository_cost_no_more(two: Two) -> None:
    text = two.text((two.one, two.to), (two.two, f"{two.destination.host}/other"))
    await run_side_by_side(text)
    two.source.clear_log()
    two.destination.clear_log()
    await run_side_by_side(text)
    for registry in (two.source, two.destination):
        assert (registry.count("manifest-head"), registry.count("tags")) == (4, 2)


class TestSomeOfTheRules:
    """Rules that are not selected: their tags are not listed, but what they name is theirs."""

    async def run(self, configuration: Configuration, *names: str) -> Any:
        async with Engine(configuration, Options(), mover=BlobMove.run, environment={}) as engine:
            engine.select(names)
            await LocalRunner(engine).run(rule for rule in configuration.rules if rule.name in names)
            return engine.outcomes.report()

    async def test_a_tag_that_another_rule_names_is_not_written(self, two: Two) -> None:
        configuration = load_text(two.text((two.one, two.to), (f"{two.two}:3.6", two.to)), "c", environment={})
        report = await self.run(configuration, two.one)
        assert list(two.held) == ["1"]
        assert len(report.notes) == 1
        # So it is in a run of this rule by itself.
        alone = await self.run(configuration.only(two.one), two.one)
        assert outcomes(alone) == {f"{two.to}:1": "up_to_date"}

    async def test_a_tag_that_another_rule_would_find_is(self, two: Two) -> None:
        configuration = load_text(two.text((two.one, two.to), (two.two, two.to)), "c", environment={})
        report = await self.run(configuration, two.one)
        assert outcomes(report) == {f"{two.to}:1": "copied", f"{two.to}:3.6": "copied"}
        assert not [entry for entry in two.source.log.entries("tags") if "/two/" in entry.path]

    async def test_an_image_that_another_rule_would_write_alike_is_written(self, two: Two) -> None:
        configuration = load_text(two.text((f"{two.one}:1", two.to), (two.one, two.to)), "c", environment={})
        report = await self.run(configuration, two.one)
        assert outcomes(report) == {f"{two.to}:1": "copied", f"{two.to}:3.6": "copied"}


async def test_a_batch_of_another_machine_leaves_what_the_plan_has_left(two: Two) -> None:
    own = f"{two.destination.host}/own/app"
    configuration = load_text(two.text((two.one, [two.to, own]), (two.two, two.to)), "c", environment={})
    async with Engine(configuration, Options(), environment={}) as engine:
        one, other = configuration.rules
        jobs, _ = await asyncio.gather(engine.plan(one), engine.plan(other))
    (batch,) = split_into_batches({one.name: jobs}, 500)
    assert batch.withheld == [f"{two.to}:3.6"]
    options = Options(withheld=frozenset(batch.withheld))
    async with Engine(configuration.only(one.name, batch.images), options, environment={}) as engine:
        await LocalRunner(engine).run(engine.configuration.rules)
        assert engine.outcomes.planned == len(engine.outcomes.images) == 3
    assert two.destination.tags("own/app") == ["1", "3.6"]
    assert list(two.held) == ["1"]


class TestAnExpressionWithOneName:
    """An expression whose one match gets the tag that its destination names."""

    def configured(self, two: Two, expression: str) -> Configuration:
        configuration = load_text(two.text((two.one, two.to), (two.two, two.to)), "c", environment={})
        first, second = configuration.rules
        source = replace(second.source, pattern=TagPattern(expression))
        destinations = tuple(replace(each, targets=("3.6",)) for each in second.destinations)
        named: Rule = replace(second, source=source, destinations=destinations)
        return replace(configuration, rules=(first, named))

    @pytest.mark.parametrize("expression", ["^2$", "^3"])
    async def test_its_tag_is_named(self, two: Two, expression: str) -> None:
        configuration = self.configured(two, expression)
        async with Engine(configuration, Options(), environment={}) as engine:
            await LocalRunner(engine).run(configuration.rules)
            report = engine.outcomes.report()
        assert errors(report) == {}
        assert two.held == {
            "1": two.digests["one", "1"],
            "3.6": two.digests["two", "2" if "2" in expression else "3.6"],
        }
        assert len(report.notes) == 1

    async def test_several_matches_fail_the_rule(self, two: Two) -> None:
        configuration = self.configured(two, ".")
        async with Engine(configuration, Options(), environment={}) as engine:
            await LocalRunner(engine).run(configuration.rules)
            report = engine.outcomes.report()
        assert "matches 2 tags (2, 3.6)" in errors(report)[two.to]
        assert list(two.held) == ["1"]
