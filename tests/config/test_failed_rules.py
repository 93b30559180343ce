"""What failed can always be run again: the file of it is read back by the loader, with the same images and filters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageferry.config import Files, load, load_text
from imageferry.config.failed_rules import rules_to_run_again
from imageferry.config.text.read import read_file
from imageferry.copy.engine import Engine
from imageferry.copy.options import Options
from imageferry.copy.results import Results
from imageferry.existing_tags import Existing, ExistingTags
from imageferry.model import Configuration, Rule
from imageferry.patterns import Patterns
from imageferry.reference import Reference
from imageferry.report.by_rule import stats_by_rule
from imageferry.report.files import Format, format_document, write_text
from imageferry.report.outcomes import ImageOutcome, Outcome, Outcomes
from imageferry.selection import PlatformFilter

NONE: dict[str, str] = {}


def failed(*images: tuple[str, str], platforms: tuple[str, ...] = ()) -> Outcomes:
    """The outcomes of a run in which these failed."""
    outcomes = Outcomes()
    for source, destination in images:
        outcomes.add(ImageOutcome(source, destination, Outcome.FAILED, error="503"))
        outcomes.retry_platforms[source, destination] = list(platforms)
    return outcomes


def read_back(outcomes: Outcomes, folder: Path, form: Format = "yaml") -> Configuration:
    """Write the file of a run's failures as the command line does, and read it as ``--images``."""
    path = folder / f"failed.{form}"
    write_text(path, format_document(rules_to_run_again(outcomes.report()), form))
    return load(Files(images=path), environment=NONE)


def existing_of(configuration: Configuration, *listed: str) -> set[tuple[str, str, ExistingTags]]:
    """What the rules copy, each with what becomes of a tag that is there."""
    return {
        (source, destination, rule.existing)
        for rule in configuration.rules
        for source, destination, _ in copied(replace(configuration, rules=(rule,)), *listed)
    }


def copied(configuration: Configuration, *listed: str) -> set[tuple[str, str, tuple[str, ...]]]:
    """What the rules copy: each source at each destination, with its platforms; ``listed`` are the source's tags."""
    found = set()
    for rule in configuration.rules:
        platforms = tuple(str(each) for each in rule.platforms.platforms)
        for number, source in enumerate(_sources(rule, listed)):
            for destination in rule.destinations:
                target = destination.targets[number] if destination.targets else source.tag or source.target
                found.add((str(source), str(destination.repository.at(target)), platforms))
    return found


def _sources(rule: Rule, listed: tuple[str, ...]) -> list[Reference]:
    if rule.source.items:
        return list(rule.source.items)
    tags = rule.source.pattern.select(listed) if rule.source.pattern else listed
    return [rule.source.repository.at(tag) for tag in tags]


async def not_reached(configuration: Configuration, **options: Any) -> Outcomes:
    """The outcomes of a run that was stopped before it planned a rule."""
    async with Engine(configuration, Options(**options), environment={}) as engine:
        engine.give_up_rest(configuration.rules)
        return engine.outcomes


@pytest.mark.parametrize("form", ["yaml", "json"])
async def test_a_source_that_is_named_twice(tmp_path: Path, form: Format) -> None:
    text = """
    images:
      - {from: a.example/app, to: b.example/app, platforms: [linux/amd64]}
      - {from: a.example/app, to: [c.example/app, e.example/app]}
      - {from: "a.example/app:/^v/", to: d.example/app}
      - {from: "app:v1,v2", to: "d.example/two:a,b"}
    """
    rules = load_text(text, "c.yaml", environment=NONE)
    again = read_back(await not_reached(rules), tmp_path, form)
    assert copied(again, "v1", "w2") == copied(rules, "v1", "w2")


async def test_the_filter_of_the_flags_is_kept(tmp_path: Path) -> None:
    rules = load_text(
        "images: [{from: a.example/x, to: b.example/x}, {from: a.example/y, to: b.example/y, platforms: ['*/arm']}]",
        "c.yaml",
        environment=NONE,
    )
    outcomes = await not_reached(rules, platforms=PlatformFilter.of(["windows:10.0"], ["arm64/v8"]))
    again = read_back(outcomes, tmp_path).rules
    assert [[str(each) for each in rule.platforms.platforms] for rule in again] == [
        ["windows:10.0/arm64/v8"],
        ["*/arm"],
    ]


@pytest.mark.parametrize("form", ["yaml", "json"])
async def test_what_becomes_of_tags_that_are_there_is_kept(tmp_path: Path, form: Format) -> None:
    text = """
    images:
      - {from: a.example/x, to: b.example/x, existing: keep}
      - {from: a.example/y, to: b.example/y, existing: fail, immutable: ["v*.*.*", /^1/]}
      - {from: a.example/z, to: b.example/z}
    """
    rules = load_text(text, "c.yaml", environment=NONE)
    again = read_back(await not_reached(rules), tmp_path, form)
    assert [rule.existing for rule in again.rules] == [rule.existing for rule in rules.rules]
    assert again.rules[1].existing == ExistingTags(Existing.FAIL, Patterns.parse(["v*.*.*", "/^1/"]))


async def test_a_default_destination_is_written_as_it_was_found(tmp_path: Path) -> None:
    rules = load_text("images: {a.example/x/app: ''}", "c.yaml", registry="h.example", namespace="m", environment=NONE)
    outcomes = await not_reached(rules)
    (again,) = read_back(outcomes, tmp_path).rules
    assert again.destinations[0].repository.name == "h.example/m/app"
    assert stats_by_rule(outcomes.images, rules.rules)[0].rule == rules.rules[0].name


async def test_a_destination_with_a_variable_keeps_it(tmp_path: Path) -> None:
    rules = load_text("images: {a.example/x: '${HOST}/x'}", "c.yaml", environment={"HOST": "h.example"})
    path = tmp_path / "failed.yaml"
    write_text(path, format_document(rules_to_run_again((await not_reached(rules)).report()), "yaml"))
    assert load(Files(images=path), environment={"HOST": "h.example"}).rules == rules.rules


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_a_run_without_failures_leaves_a_file_with_nothing_to_do(tmp_path: Path, form: Format) -> None:
    assert read_back(Outcomes(), tmp_path, form).rules == ()
    assert (tmp_path / f"failed.{form}").read_text() == "{}\n"


@pytest.mark.parametrize(
    ("images", "listed", "expected"),
    [
        # Two rules of all tags that would write one tag; no file may name such a tag twice.
        (
            [("a.example/x:3.6", "d.example/x:3.6"), ("b.example/x:3.6", "d.example/x:3.6")],
            ["3.6", "3x6"],
            {("a.example/x:3.6", "d.example/x:3.6"), ("b.example/x:3.6", "d.example/x:3.6")},
        ),
    ],
)
def test_what_no_file_may_say_of_tags_is_said_with_an_expression(
    tmp_path: Path, images: list[tuple[str, str]], listed: list[str], expected: set[tuple[str, str]]
) -> None:
    assert {each[:2] for each in copied(read_back(failed(*images), tmp_path), *listed)} == expected


@pytest.mark.parametrize("tag", ["", "a/b", "a b", "v1:x", "x" * 200, "\x1b[2J", "é", "/,/"])
def test_an_entry_of_a_tag_list_that_is_no_tag(tmp_path: Path, tag: str) -> None:
    found = read_back(failed((f"127.0.0.1:5000/x:{tag}", f"b.example/x:{tag}")), tmp_path).rules
    (rule,) = found
    assert (rule.source.repository.name, rule.destinations[0].repository.name) == ("127.0.0.1:5000/x", "b.example/x")
    assert rule.source.pattern
    assert rule.source.pattern.select([tag, f"{tag}1", "v1"]) == [tag]


HOSTS = st.sampled_from(["a.example", "b.example:5000", "127.0.0.1:5000", "localhost", "[::1]:5000"])
NAMES = st.sampled_from(["x", "team/app", "images", "auth", "x-a/b", "1e3", "a/0x1f"])
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,12}", fullmatch=True)
DIGESTS = st.sampled_from(["sha256:" + "a" * 64, "sha512:" + "b" * 128])
IMAGES = st.builds(lambda host, name, at: f"{host}/{name}{at}", HOSTS, NAMES, TAGS.map(":{}".format))
PINNED = st.builds(lambda image, digest: f"{image}@{digest}", IMAGES, DIGESTS)
EXISTING = st.builds(
    ExistingTags,
    st.sampled_from(Existing),
    st.lists(st.sampled_from(["v*.*.*", "1e3", "0x1f", "/^[0-9]+$/", "[!a]?", "{a,b}*", "yes", "*"]), max_size=2).map(
        Patterns.parse
    ),
)
PLATFORMS = st.lists(st.sampled_from(["linux/amd64", "linux/arm64/v8", "windows:10.0/amd64", "*/arm"]), max_size=2)


@settings(deadline=None)
@given(
    st.lists(st.tuples(IMAGES | PINNED, IMAGES, PLATFORMS, EXISTING), max_size=6, unique_by=lambda each: each[:2]),
    st.sampled_from(["yaml", "json"]),
)
def test_whatever_failed_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, images: list[tuple[str, str, list[str], ExistingTags]], form: Format
) -> None:
    outcomes = Outcomes()
    expected = set()
    policies = set()
    pinned: dict[str, Any] = {}
    for source, destination, platforms, existing in images:
        if "@" in source and pinned.setdefault(destination, source) != source:
            # Two digests under one name were refused before the run.
            continue
        outcomes.add(ImageOutcome(source, destination, Outcome.FAILED))
        outcomes.retry_platforms[source, destination] = platforms
        outcomes.retry_options[source, destination] = existing.as_written()
        policies.add((source, destination, existing))
        expected.add((source, destination, tuple(dict.fromkeys(platforms))))
    listed = {source.partition("@")[0].rpartition(":")[2] for source, _, _ in expected}
    again = read_back(outcomes, tmp_path_factory.getbasetemp(), form)
    found = {(a, b, tuple(dict.fromkeys(platforms))) for a, b, platforms in copied(again, *listed)}
    assert found == expected
    assert existing_of(again, *listed) == policies


@given(st.sampled_from(["1e3", "0x1f", ".5", "123", "0755", "yes", "~", "null"]), st.sampled_from(["yaml", "json"]))
def test_a_name_that_looks_like_a_number_stays_a_name(
    tmp_path_factory: pytest.TempPathFactory, name: str, form: Format
) -> None:
    outcomes = failed((f"a.example/x:{name}", "b.example/x:1"), platforms=("linux/amd64",))
    document = [{"from": name, "to": name, "platforms": ["linux/amd64"]}]
    assert rules_to_run_again(outcomes.report())
    path = tmp_path_factory.getbasetemp() / f"names.{form}"
    write_text(path, format_document({"k": document}, form))
    assert read_file(path).value == {"k": document}


POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "include": st.just(["v1.*", "/^1e3$/", "latest"]),
        "versions": st.sampled_from([">=16 <18 || ~3.4", "16"]),
        "prereleases": st.booleans(),
        "numbers": st.sampled_from(["1-1", "2-4"]),
        "newest": st.integers(1, 9) | st.just({"majors": 2, "patches": 1}) | st.just({"tags": 10, "by": "date"}),
        "max_age": st.sampled_from(["7d", "5h"]),
        "always": st.just(["1.10", "latest"]),
    },
)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(POLICIES, PLATFORMS), min_size=1, max_size=4),
    POLICIES,
    st.booleans(),
    st.sampled_from(["yaml", "json"]),
)
def test_rules_that_choose_their_tags_are_read_back_with_what_they_choose(
    tmp_path_factory: pytest.TempPathFactory,
    options: list[tuple[dict[str, Any], list[str]]],
    default: dict[str, Any],
    own: bool,
    form: Format,
) -> None:
    """Of one source, to one repository each; what the file gives to every rule is in each of them."""
    entries = [
        {"from": "a.example/x", "to": f"b.example/{number}"}
        | ({"tags": tags} if own else {})
        | ({"platforms": platforms} if platforms else {})
        for number, (tags, platforms) in enumerate(options)
    ]
    document = {"images": entries, "defaults": {"rules": {"tags": default, "platforms": ["windows/amd64"]}}}
    text = format_document(document, "json")
    rules = load_text(text, "c.json", environment=NONE).rules
    outcomes = Outcomes()
    for rule in rules:
        Results(outcomes).fail_rule(rule, rule.platforms_in(PlatformFilter()), ValueError("503"))
    again = read_back(outcomes, tmp_path_factory.getbasetemp(), form).rules
    assert [rule.source for rule in again] == [rule.source for rule in rules]
    assert [rule.platforms for rule in again] == [rule.platforms_in(PlatformFilter()) for rule in rules]
    assert [rule.destinations for rule in again] == [rule.destinations for rule in rules]


def test_images_of_a_rule_that_chooses_its_tags_are_named(tmp_path: Path) -> None:
    """What was chosen is not chosen again: the tags that failed may not be the newest any more."""
    outcomes = failed(("a.example/x:1.2", "b.example/x:1.2"))
    (rule,) = read_back(outcomes, tmp_path).rules
    assert (rule.source.policy, [item.tag for item in rule.source.items]) == (None, ["1.2"])
