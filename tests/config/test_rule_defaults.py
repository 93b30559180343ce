"""``defaults.rules``: options for rules that do not say them."""

import json
from typing import Any

import pytest

from imageferry.config import ConfigurationError, Files, load, load_text
from imageferry.existing_tags import Existing, ExistingTags
from imageferry.model import Configuration, Rule
from imageferry.newest import NewestVersions
from imageferry.patterns import Patterns
from imageferry.selection import PlatformFilter
from imageferry.tag_policy import TagPolicy

NEWEST = TagPolicy(newest=NewestVersions(3))


def read(images: Any, **rules: Any) -> tuple[Rule, ...]:
    text = json.dumps({"defaults": {"rules": rules}, "images": images})
    return load_text(text, "c.json", environment={}).rules


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_text(text, "c.yaml", environment={})
    return [f"{each.line} {each.key}: {each.message}" for each in caught.value.diagnostics]


def test_a_rule_of_the_mapping_form_gets_them() -> None:
    (rule,) = read({"a.example/x": "b.example/x"}, tags={"newest": 3}, platforms=["linux/amd64"])
    assert rule.source.policy == NEWEST
    assert (rule.platforms, rule.default_platforms) == (PlatformFilter(), PlatformFilter.parse(["linux/amd64"]))


def test_what_an_entry_says_counts_and_is_taken_whole() -> None:
    entries = [
        {"from": "a.example/x", "to": "b.example/x", "tags": {"exclude": ["v*"]}},
        {"from": "a.example/y", "to": "b.example/y", "platforms": ["linux/arm64"]},
    ]
    first, second = read(entries, tags={"newest": 3}, platforms=["linux/amd64"])
    assert first.source.policy is not None
    # Not merged: nothing of the default policy is in it.
    assert first.source.policy.newest is None
    assert second.source.policy == NEWEST
    arm, amd = PlatformFilter.parse(["linux/arm64"]), PlatformFilter.parse(["linux/amd64"])
    assert second.platforms_in(PlatformFilter.parse(["windows"])) == arm
    assert first.platforms_in(PlatformFilter.parse(["windows"])) == PlatformFilter.parse(["windows"])
    assert first.platforms_in(PlatformFilter()) == amd


def test_what_becomes_of_tags_that_are_there_is_an_option_too() -> None:
    entry = {"from": "a.example/x", "to": "b.example/x", "existing": "fail"}
    (mapped,) = read({"a.example/x": "b.example/x"}, existing="keep", immutable=["v*"])
    (listed,) = read([entry], existing="keep", immutable=["v*"])
    assert mapped.existing == ExistingTags(Existing.KEEP, Patterns.parse(["v*"]))
    # Key by key.
    assert listed.existing == ExistingTags(Existing.FAIL, Patterns.parse(["v*"]))


@pytest.mark.parametrize("source", ["a.example/x:v1", "a.example/x:/^v/", f"a.example/x@sha256:{'a' * 64}"])
def test_a_source_that_names_its_tags_takes_no_policy(source: str) -> None:
    (rule,) = read({source: "b.example/x"}, tags={"newest": 3})
    assert rule.source.policy is None


def test_a_file_of_images_has_them_too(tmp_path: Any) -> None:
    path = tmp_path / "images.yaml"
    path.write_text("images: {a.example/x: b.example/x}\ndefaults: {rules: {tags: {newest: 3}}}\n")
    found: Configuration = load(Files(images=path), environment={})
    assert found.rules[0].source.policy == NEWEST


def test_all_errors_are_reported_with_their_lines() -> None:
    text = """\
defaults:
  registri: x
  rules:
    tags:
      newest: 0
      versions: latest
    platform: []
images: {a.example/x: b.example/x}
"""
    found = problems(text)
    assert [each.partition(":")[0] for each in found] == [
        "2 defaults.registri",
        "5 defaults.rules.tags.newest",
        "6 defaults.rules.tags.versions",
        "7 defaults.rules.platform",
    ]
    assert found[3].endswith("unknown key 'platform'; did you mean 'platforms'?")


def test_the_same_named_tag_with_and_without_the_default_filter_is_no_collision() -> None:
    entries = [
        {"from": "a.example/x:v1", "to": "b.example/x"},
        {"from": "a.example/x:v1", "to": "b.example/x", "platforms": ["linux/amd64"]},
    ]
    assert len(read(entries, platforms=["linux/amd64"])) == 2
    with pytest.raises(ConfigurationError, match="with other platforms"):
        read(entries, platforms=["linux/arm64"])


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ("x", "is text: expected a mapping of platforms, existing, immutable and tags"),
        ("", "is nothing: expected a mapping of platforms, existing, immutable and tags"),
        ("{platforms: []}", "is empty: expected os/architecture, or leave the key out for all platforms"),
        ("{platforms: }", "is nothing: expected a list such as [linux/amd64], or no key for all"),
        ("{tags: }", "is nothing: expected a list of tags and patterns, or a mapping"),
    ],
)
def test_what_is_no_options(rules: str, problem: str) -> None:
    (found,) = problems(f"defaults:\n  rules: {rules}\nimages: {{a.example/x: b.example/x}}\n")
    assert found.startswith("2 defaults.rules")
    assert found.endswith(problem)
