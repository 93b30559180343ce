"""A rule's ``tags``."""

from datetime import timedelta

import pytest

from imageferry.config.tag_policy import read_tag_policy
from imageferry.config.text.read import read_document
from imageferry.newest import NewestTags, NewestVersions
from imageferry.tag_policy import TagPolicy


def read(text: str) -> tuple[TagPolicy, list[str]]:
    document = read_document("tags: " + text, "config.yaml")
    policy = read_tag_policy(document, ("tags",))
    return policy, [str(each) for each in document.diagnostics]


def test_every_key() -> None:
    policy, problems = read(
        """
          include: ["16*", 1.20, /^17/]
          exclude: ["*-windows*"]
          versions: ">=16 <18"
          prereleases: true
          variants: ["", alpine*]
          numbers: 1-2
          newest: {majors: 2, minors: 3, patches: 1}
          max_age: 26w
          always: [latest, 1.10]
          at_least: 1
        """
    )
    assert problems == []
    assert policy.include is not None
    # A number is the tag that it is written as.
    assert [pattern.text for pattern in policy.include.patterns] == ["16*", "1.20", "/^17/"]
    assert policy.versions is not None
    assert policy.versions.text == ">=16 <18"
    assert policy.prereleases is True
    assert policy.variants is not None
    assert policy.variants.matches("")
    assert policy.numbers == (1, 2)
    assert policy.newest == NewestVersions(None, 2, 3, 1)
    assert policy.max_age == timedelta(weeks=26)
    assert policy.always == {"latest", "1.10"}
    assert policy.at_least == 1


def test_a_list_is_what_to_include() -> None:
    policy, problems = read("[v1.*, latest]")
    assert problems == []
    assert policy.include is not None
    assert policy == TagPolicy(include=policy.include)
    assert policy.include.matches("v1.2")


def test_the_newest_tags_by_date() -> None:
    assert read("{newest: {tags: 10, by: date}}") == (TagPolicy(newest=NewestTags(10, "date")), [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{versions: ">=16 <"}', "tags.versions: '>=16 <' is not a range: ends after '<'"),
        (
            "{versions: latest}",
            "tags.versions: 'latest' is not a version; a tag by name belongs into include or always",
        ),
        ("{newest: 0}", "tags.newest: expected a number from 1"),
        ("{newest: -1}", "tags.newest: expected a number from 1"),
        ("{newest: true}", "tags.newest: expected a number from 1"),
        ('{newest: "3"}', "tags.newest: expected a number from 1"),
        ("{newest: {}}", "tags.newest: is empty: expected majors, minors, patches or tags"),
        ("{newest: {tags: 1, minors: 1}}", "tags.newest: expected either tags, or majors, minors and patches"),
        ("{newest: {tags: 1, by: size}}", "tags.newest.by: expected version or date"),
        ("{newest: {minors: 1, by: date}}", "tags.newest.by: is for tags: {tags: 10, by: date}"),
        ("{numbers: 0}", "tags.numbers: expected how many numbers a tag's version has: from 1 to 4, or such as 2-4"),
        ("{numbers: 4-2}", "tags.numbers: expected how many numbers a tag's version has: from 1 to 4, or such as 2-4"),
        ("{max_age: 3 months}", "tags.max_age: expected a number with h, d or w, such as 180d"),
        ("{max_age: 0d}", "tags.max_age: expected a number with h, d or w, such as 180d"),
        ("{include: []}", "tags.include: is empty: nothing would be copied"),
        ("[]", "tags: is empty: nothing would be copied"),
        ("{include: [/(/]}", "tags.include[0]: '/(/' is not a pattern: missing ): ("),
        ("{include: v1}", "tags.include: is text: expected a list, such as [v1.*, latest]"),
        ('{exclude: ["*"]}', "tags.exclude: leaves nothing: it excludes every tag"),
        ("{at_least: -1}", "tags.at_least: expected a number from 1"),
        ("v1", "tags: is text: expected a list of tags and patterns, or a mapping"),
        ("{includes: [a]}", "tags.includes: unknown key 'includes'; did you mean 'include'?"),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    _, problems = read(text)
    assert problems == [f"config.yaml:1: {problem}"]
