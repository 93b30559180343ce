"""The tags that a rule's policy chooses, from the file to what is at the destination."""

import json
from pathlib import Path
from typing import Any

import pytest

from imageferry.config import Files, load, load_text
from imageferry.config.failed_rules import rules_to_run_again
from imageferry.copy.engine import Engine
from imageferry.copy.options import Options
from imageferry.copy.runner import LocalRunner
from imageferry.model import RuleNotFound
from imageferry.report.files import format_document
from imageferry.selection import PlatformFilter
from testkit.images.documents import image_manifest
from testkit.images.push import push_document
from testkit.registries.distribution import DistributionRegistry
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured, errors, outcomes, run
from tests.copy.test_upstream import run_side_by_side

SIGNATURE = f"sha256-{'a' * 64}.sig"
TAGS = ("1.24.0", "1.25.4", "1.25.5", "1.25.5-alpine3.20", "1.26.0-rc1", "26", "bookworm", "latest", SIGNATURE)


class Choosing:
    """A repository with many kinds of tags, and a destination."""

    def __init__(self, source: FakeRegistry, destination: FakeRegistry) -> None:
        self.source, self.destination = source, destination
        self.repository, self.to = f"{source.host}/a/app", f"{destination.host}/b/app"

    def add(self, *tags: str) -> None:
        for tag in tags:
            self.source.image("a/app", tag, [tag.encode()])

    def text(self, tags: Any, to: str = "", **more: Any) -> str:
        entry = {"from": self.repository, "to": to or self.to, "tags": tags}
        return configured([entry], self.source, self.destination, **more)

    def held(self) -> list[str]:
        return self.destination.tags("b/app")


@pytest.fixture
def choosing(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> Choosing:
    return Choosing(fake_source, fake_destination)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["1.25*", "latest"], "1.25.4 1.25.5 1.25.5-alpine3.20 latest"),
        ({"versions": ">=1.25", "variants": [""], "always": ["latest"]}, "1.25.4 1.25.5 latest"),
        ({"newest": 1}, "1.25.5 1.25.5-alpine3.20"),
        ({"exclude": ["/^1/"]}, "26 bookworm latest"),
        ({"versions": ">=9"}, ""),
    ],
)
async def test_a_dry_run_and_a_run_choose_the_same(choosing: Choosing, tags: Any, expected: str) -> None:
    choosing.add(*TAGS)
    text = choosing.text(tags)
    dry = await run(text, dry_run=True)
    assert choosing.held() == []
    report = await run(text)
    assert errors(dry) == errors(report) == {}
    assert choosing.held() == expected.split()
    assert set(outcomes(dry)) == set(outcomes(report)) == {f"{choosing.to}:{tag}" for tag in expected.split()}
    assert dry.selections == report.selections


async def test_versions_alone_cost_no_request_beyond_the_list(choosing: Choosing) -> None:
    choosing.add(*TAGS)
    choosing.source.clear_log()
    await run(choosing.text({"newest": 1, "variants": [""]}), dry_run=True)
    assert [entry.kind for entry in choosing.source.log if entry.kind != "ping"] == ["tags", "manifest-head"]


async def test_what_each_stage_left_out_is_in_the_report(choosing: Choosing) -> None:
    choosing.add(*TAGS)
    report = await run(choosing.text({"exclude": ["*-rc*"], "newest": 1, "always": ["latest"]}))
    assert json.loads(report.to_json())["selections"] == [
        {
            "rule": choosing.repository,
            "repository": choosing.repository,
            "listed": 9,
            "selected": 3,
            "dropped": {"digest_tags": 1, "exclude": 1, "no_version": 1, "numbers": 1, "newest": 2},
        }
    ]
    assert report.choices[0].lines == (
        f"{choosing.repository}: 9 tags; digest tags 8, exclude 7, no version 5, numbers 4, newest 1 of 2 variants: "
        "2 selected, + always 1",
        f'dropped as no version: 1 (bookworm); with one number: 1 (26), see "numbers"; as digest tags: 1 ({SIGNATURE})',
    )


async def test_a_rule_that_chooses_nothing_leaves_a_note(choosing: Choosing) -> None:
    choosing.add("latest")
    report = await run(choosing.text({"newest": 1}))
    assert report.status == "completed"
    assert report.notes == [f"rule {choosing.repository} selects nothing: 1 tag; no version 0: 0 selected"]


async def test_too_few_tags_fail_the_rule_and_it_can_be_run_again(choosing: Choosing, tmp_path: Path) -> None:
    choosing.add("1.2", "1.3", "latest")
    tags = {"versions": ">=1.3", "at_least": 2}
    report = await run(choosing.text(tags))
    assert errors(report) == {
        choosing.to: f"{choosing.repository}: 3 tags; no version 2, versions 1: 1 selected: at least 2 are wanted "
        "(at_least)"
    }
    assert choosing.held() == []
    again = rules_to_run_again(report)
    assert again == [{"from": choosing.repository, "to": choosing.to, "tags": tags}]
    (tmp_path / "failed.yaml").write_text(format_document(again, "yaml"))
    (rule,) = load(Files(images=tmp_path / "failed.yaml"), environment={}).rules
    assert rule.source == load_text(choosing.text(tags), "c.json", environment={}).rules[0].source


async def test_what_is_chosen_may_have_another_name(choosing: Choosing) -> None:
    choosing.add("1.2", "1.3", "latest")
    assert errors(await run(choosing.text({"newest": 1}, f"{choosing.to}:stable"))) == {}
    assert choosing.destination.storage.repository("b/app").tags == {"stable": choosing.source.digest("a/app", "1.3")}
    report = await run(choosing.text({"newest": 2}, f"{choosing.to}:stable"))
    assert "matches 2 tags (1.2, 1.3), which would all end as stable" in errors(report)[f"{choosing.to}:stable"]


async def test_an_entry_that_is_no_tag_fails_the_rule_only_where_the_policy_is_for_it(choosing: Choosing) -> None:
    choosing.add("1.2")
    choosing.source.storage.repository("a/app").tags["1.3 x"] = choosing.source.digest("a/app", "1.2") or ""
    assert errors(await run(choosing.text({"versions": ">=1"}))) == {}
    assert "'1.3 x' is not a tag" in errors(await run(choosing.text(["1.*"])))[choosing.to]


class TestSeveralRules:
    async def test_a_tag_that_a_policy_chooses_is_that_of_the_rule_that_names_it(self, choosing: Choosing) -> None:
        choosing.add("1.0", "2.0", "latest")
        other = choosing.source.image("other/app", "latest", [b"other"])
        images = [
            {"from": choosing.repository, "to": choosing.to, "tags": {"newest": 1, "always": ["latest"]}},
            {"from": f"{choosing.source.host}/other/app:latest", "to": choosing.to},
        ]
        report = await run_side_by_side(configured(images, choosing.source, choosing.destination))
        assert errors(report) == {}
        assert choosing.held() == ["2.0", "latest"]
        assert choosing.destination.digest("b/app", "latest") == other

    async def test_a_tag_that_two_policies_choose_is_written_by_none(self, choosing: Choosing, tmp_path: Path) -> None:
        choosing.add("1.0", "2.0")
        for tag in ("2.0", "3.0"):
            choosing.source.image("other/app", tag, [b"other", tag.encode()])
        images = [
            {"from": choosing.repository, "to": choosing.to, "tags": ["2.*"]},
            {"from": f"{choosing.source.host}/other/app", "to": choosing.to, "tags": {"newest": 2}},
        ]
        report = await run_side_by_side(configured(images, choosing.source, choosing.destination))
        assert choosing.held() == ["3.0"]
        assert list(errors(report)) == [f"{choosing.to}:2.0"]
        # Both are run again as a whole, with their policies.
        assert sorted(rules_to_run_again(report), key=str) == sorted(images, key=str)

    async def test_what_a_policy_writes_is_read_in_the_same_run(self, choosing: Choosing) -> None:
        choosing.add("1.0", "2.0", "latest")
        end = f"{choosing.destination.host}/end/app"
        images = [
            {"from": choosing.to, "to": end, "tags": {"newest": 1}},
            {"from": choosing.repository, "to": choosing.to, "tags": {"versions": ">=1"}},
        ]
        report = await run_side_by_side(configured(images, choosing.source, choosing.destination))
        assert errors(report) == {}
        assert choosing.destination.tags("end/app") == ["2.0"]


async def test_a_batch_copies_what_was_chosen_when_it_was_planned(choosing: Choosing) -> None:
    """A newer tag has come since: the batch is for those that it names, and does not choose again."""
    choosing.add("1.0", "1.1", "1.2", "latest")
    configuration = load_text(choosing.text({"newest": 1, "exclude": ["1.0"]}), "c.json", environment={})
    (name,) = (rule.name for rule in configuration.rules)
    narrowed = configuration.only(name, ["1.1"])
    async with Engine(narrowed, Options(), environment={}) as engine:
        await LocalRunner(engine).run(narrowed.rules)
        report = engine.outcomes.report()
    assert outcomes(report) == {f"{choosing.to}:1.1": "copied"}
    assert choosing.source.count("tags") == 0
    with pytest.raises(RuleNotFound, match=r"the tag 1\.0 is none that the rule selects"):
        configuration.only(name, ["1.0"])


async def test_the_defaults_of_a_file_choose_for_rules_of_the_mapping_form(choosing: Choosing) -> None:
    choosing.add(*TAGS)
    images = {choosing.repository: choosing.to, f"{choosing.repository}:bookworm": f"{choosing.to}-named"}
    defaults = {"rules": {"tags": {"newest": 1, "variants": [""]}}}
    report = await run(configured(images, choosing.source, choosing.destination, defaults=defaults))
    assert errors(report) == {}
    assert choosing.held() == ["1.25.5"]
    assert choosing.destination.tags("b/app-named") == ["bookworm"]


@pytest.mark.parametrize(
    ("flag", "own", "expected"),
    [(None, None, "linux/arm64"), ("linux/amd64", None, "linux/amd64"), ("linux/amd64", "linux/s390x", "linux/s390x")],
)
async def test_a_default_filter_counts_after_the_flags_and_the_rules_own(
    choosing: Choosing, flag: str | None, own: str | None, expected: str
) -> None:
    platforms = ("linux/amd64", "linux/arm64", "linux/s390x")
    choosing.source.index(
        "a/app", "v1", {each: choosing.source.image("a/app", None, [each.encode()], each) for each in platforms}
    )
    entry = {"from": choosing.repository, "to": choosing.to, **({"platforms": [own]} if own else {})}
    text = configured(
        [entry], choosing.source, choosing.destination, defaults={"rules": {"platforms": ["linux/arm64"]}}
    )
    report = await run(text, platforms=PlatformFilter.parse([flag] if flag else []))
    assert errors(report) == {}
    (left,) = json.loads(choosing.destination.manifest("b/app", "v1") or b"")["manifests"]
    assert f"{left['platform']['os']}/{left['platform']['architecture']}" == expected


async def test_a_policy_over_the_many_tags_of_a_real_registry(
    source_registry: DistributionRegistry, fake_destination: FakeRegistry, repository: str
) -> None:
    digest = push_document(source_registry.host, repository, "1.0.0", image_manifest([b"x"]))
    tags = source_registry.folder / f"storage/docker/registry/v2/repositories/{repository}/_manifests/tags"
    versions = [f"{minor // 10}.{minor % 10}.{patch}" for minor in range(150) for patch in range(10)]
    for tag in versions[:-1]:
        # As it stores them: 1,500 PUTs would take seconds.
        (tags / tag / "current").mkdir(parents=True, exist_ok=True)
        (tags / tag / "current/link").write_text(digest)
    source, to = f"{source_registry.host}/{repository}", f"{fake_destination.host}/b/app"
    entry = {"from": source, "to": to, "tags": {"newest": {"majors": 2, "minors": 1, "patches": 1}}}
    text = configured([entry], source_registry, fake_destination)
    report = await run(text, dry_run=True)
    assert set(outcomes(report)) == {f"{to}:14.9.8", f"{to}:13.9.9"}
    assert report.choices[0].lines == (f"{source}: 1,499 tags; newest 2 majors and 1 minor and 1 patch: 2 selected",)
    await run(text)
    assert fake_destination.tags("b/app") == ["13.9.9", "14.9.8"]


async def test_a_policy_goes_over_all_pages(choosing: Choosing) -> None:
    choosing.add("v0")
    for number in range(1, 1500):
        choosing.source.tag("a/app", f"v{number}", "v0")
    report = await run(choosing.text({"numbers": 1, "newest": 2}), dry_run=True)
    assert choosing.source.count("tags") == 2
    assert set(outcomes(report)) == {f"{choosing.to}:v1498", f"{choosing.to}:v1499"}
