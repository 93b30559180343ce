"""A rule's ``tags``."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageferry.config.tag_policy import read_tag_policy
from imageferry.config.text.read import read_document, read_file
from imageferry.newest import NewestTags, NewestVersions
from imageferry.report.files import Format, format_document
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
        ("{include: [/(/]}", "tags.include[0]: '(' is not a regular expression (RE2): missing ): ("),
        ("{include: v1}", "tags.include: is text: expected a list, such as [v1.*, latest]"),
        ("{include: ['/^v1']}", "tags.include[0]: the regular expression does not end: expected /regex/"),
        ("{include: [//]}", "tags.include[0]: the regular expression is empty: expected /regex/"),
        (
            r'{exclude: ["/\b/"]}',
            r"tags.exclude[0]: the regular expression has a control character: in double quotes \b is one; "
            "use single quotes",
        ),
        (
            r"{include: ['^v1\..*$']}",
            "tags.include[0]: no tag has '^': a regular expression stands between slashes, as /^v1/",
        ),
        ('{include: [""]}', "tags.include[0]: is empty: expected a tag, a glob such as v1.*, or /expression/"),
        ("{exclude: []}", "tags.exclude: is empty"),
        ("{include: [latest], exclude: [l*]}", "tags.exclude: leaves nothing: it excludes all that is included"),
        (
            "{always: [v1.*]}",
            "tags.always[0]: 'v1.*' is not a tag: expected A-Z, a-z, 0-9 and _ . -, 128 of them "
            "at most; a pattern belongs into include",
        ),
        ("{versions: [1]}", "tags.versions: is a list: expected text; text that begins with [ needs quotes"),
        ("", "tags: is nothing: expected a list of tags and patterns, or a mapping"),
        ('{exclude: ["*"]}', "tags.exclude: leaves nothing: it excludes every tag"),
        ("{at_least: -1}", "tags.at_least: expected a number from 1"),
        ("v1", "tags: is text: expected a list of tags and patterns, or a mapping"),
        ("{includes: [a]}", "tags.includes: unknown key 'includes'; did you mean 'include'?"),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    _, problems = read(text)
    assert problems == [f"config.yaml:1: {problem}"]


PATTERNS = st.lists(
    st.sampled_from(["v1.*", "latest", "1.10", "/^17/", "[a-c]?", "1e3", "yes"]), min_size=1, max_size=3
)
COUNTS = st.integers(1, 10**8)
LEVELS = st.dictionaries(st.sampled_from(["majors", "minors", "patches"]), COUNTS, min_size=1)
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "include": PATTERNS,
        "exclude": st.just(["*-windows*", "2"]),
        "versions": st.sampled_from([">=16 <18 || ~3.4", "1.2.x", "16"]),
        "prereleases": st.booleans(),
        "variants": PATTERNS.map(lambda texts: ["", *texts]),
        "numbers": st.sampled_from(["2", "1-4", "3-3"]),
        "newest": COUNTS | LEVELS | COUNTS.map(lambda count: {"tags": count, "by": "date"}),
        "max_age": st.builds("{}{}".format, st.integers(1, 999_999), st.sampled_from("hdw")),
        "always": st.just(["latest", "1.10"]),
        "at_least": COUNTS,
    },
)


@given(POLICIES | PATTERNS, st.sampled_from(["yaml", "json"]))
def test_a_policy_is_read_back_as_it_is_written(
    tmp_path_factory: pytest.TempPathFactory, value: Any, form: Format
) -> None:
    path = tmp_path_factory.getbasetemp() / f"policy.{form}"

    def read_value(tags: Any) -> TagPolicy:
        path.write_text(format_document({"tags": tags}, form))
        document = read_file(path)
        policy = read_tag_policy(document, ("tags",))
        assert document.diagnostics == []
        return policy

    policy = read_value(value)
    written = policy.as_written()
    assert read_value(written) == policy
    assert isinstance(written, list) == (isinstance(value, list) or list(value) == ["include"])
    assert isinstance(written, list) or set(written) == set(value)


def test_an_error_hides_no_other() -> None:
    _, problems = read("{includ: [a], prereleases: 1, newest: 0, numbers: 9, always: [a b]}")
    assert sorted(each.split(": ")[1] for each in problems) == [
        "tags.always[0]",
        "tags.includ",
        "tags.newest",
        "tags.numbers",
        "tags.prereleases",
    ]
