"""Which of a repository's tags a rule copies."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageferry.newest import NewestTags, NewestVersions
from imageferry.patterns import Patterns
from imageferry.tag_policy import TagPolicy, TooFewTags
from imageferry.version_range import VersionRange

NOW = datetime(2026, 11, 28, tzinfo=UTC)
SIGNATURE = f"sha256-{'a' * 64}.sig"
OF_25 = "1.25.4 1.25.5 1.25.5-alpine 1.25.5-alpine3.20"
TAGS = f"latest 1.24.0 {OF_25} 1.26.0-rc1 1.26-windows 26 bookworm {SIGNATURE}".split()
VERSIONS = VersionRange.parse(">=1.25")
PLAIN = Patterns.parse([""])


def patterns(*texts: str) -> Patterns:
    return Patterns.parse(texts)


def select(policy: TagPolicy, tags: list[str] | None = None, dates: dict[str, datetime] | None = None) -> list[str]:
    return policy.begin(TAGS if tags is None else tags).finish(dates or {}, NOW)


@pytest.mark.parametrize(
    ("policy", "selected"),
    [
        (TagPolicy(include=patterns("1.25*", "latest")), f"latest {OF_25}"),
        (TagPolicy(exclude=patterns("*-*", "/^2/")), "latest 1.24.0 1.25.4 1.25.5 bookworm"),
        (TagPolicy(versions=VERSIONS), f"{OF_25} 1.26-windows"),
        (TagPolicy(newest=NewestVersions(1), variants=PLAIN), "1.25.5"),
        (TagPolicy(newest=NewestVersions(1), variants=PLAIN, prereleases=True), "1.26.0-rc1"),
        (
            TagPolicy(newest=NewestVersions(1), variants=patterns("", "alpine*")),
            "1.25.5 1.25.5-alpine 1.25.5-alpine3.20",
        ),
        (TagPolicy(numbers=(1, 1)), "26"),
        (TagPolicy(newest=NewestVersions(1), variants=PLAIN, always=frozenset({"latest", "gone"})), "latest 1.25.5"),
        # What is excluded stays out, even if it is always wanted.
        (TagPolicy(include=patterns("1.24*"), exclude=patterns("latest"), always=frozenset({"latest"})), "1.24.0"),
        (TagPolicy(prereleases=False), f"latest 1.24.0 {OF_25} 1.26-windows 26 bookworm"),
        (TagPolicy(include=patterns("1.26*"), always=frozenset({SIGNATURE})), f"1.26.0-rc1 1.26-windows {SIGNATURE}"),
        (
            TagPolicy(include=patterns("1.25*", "1.26*"), newest=NewestTags(1)),
            "1.25.5 1.25.5-alpine 1.25.5-alpine3.20 1.26-windows",
        ),
    ],
)
def test_what_is_selected(policy: TagPolicy, selected: str) -> None:
    """In the order of the list."""
    assert select(policy) == selected.split()


def test_a_range_that_names_a_prerelease_takes_it() -> None:
    policy = TagPolicy(versions=VersionRange.parse(">=1.26.0-rc1"))
    assert select(policy) == ["1.26.0-rc1", "1.26-windows"]


def test_by_age() -> None:
    """What has no date is taken, and counted."""
    policy = TagPolicy(include=patterns("1.2?.*"), max_age=timedelta(days=180))
    dates = {"1.24.0": NOW - timedelta(days=181), "1.25.4": NOW - timedelta(days=179)}
    selection = policy.begin(TAGS)
    assert selection.finish(dates, NOW) == ["1.25.4", "1.25.5", "1.25.5-alpine", "1.25.5-alpine3.20", "1.26.0-rc1"]
    assert selection.describe() == "11 tags; include 6, max_age 5: 5 selected (4 without a date)"


def test_each_stage_says_what_it_took() -> None:
    policy = TagPolicy(
        exclude=patterns("*-windows*"), newest=NewestVersions(1), always=frozenset({"latest"}), variants=PLAIN
    )
    selection = policy.begin(TAGS)
    assert selection.finish({}, NOW) == ["latest", "1.25.5"]
    assert selection.dropped == {
        "digest_tags": [SIGNATURE],
        "exclude": ["1.26-windows"],
        "no_version": ["latest", "bookworm"],
        "variants": ["1.25.5-alpine", "1.25.5-alpine3.20"],
        "numbers": ["26"],
        "prereleases": ["1.26.0-rc1"],
        "newest": ["1.24.0", "1.25.4"],
    }
    assert selection.describe() == (
        "11 tags; digest tags 10, exclude 9, no version 7, variants 5, numbers 4, no pre-releases 3, newest 1: "
        "1 selected, + always 1"
    )
    assert selection.explain() == (
        f'dropped as no version: 1 (bookworm); with one number: 1 (26), see "numbers"; as digest tags: 1 ({SIGNATURE})'
    )
    # What is always taken is no loss.
    assert selection.left_out()["no_version"] == ["bookworm"]
    assert sum(map(len, selection.left_out().values())) + 2 == 11


def test_the_line_of_the_newest_says_of_how_many_variants() -> None:
    policy = TagPolicy(versions=VERSIONS, newest=NewestVersions(1), prereleases=True)
    selection = policy.begin(["1.25.4", "1.25.5", "1.25.5-alpine3.20", "1.25.4-alpine3.19", "1.26.0-rc1"])
    selection.finish({}, NOW)
    assert selection.describe() == "5 tags; newest 1 of 2 variants: 2 selected"
    by_level = TagPolicy(newest=NewestVersions(None, majors=2, patches=1), variants=PLAIN).begin(OF_25.split())
    by_level.finish({}, NOW)
    assert by_level.describe() == "4 tags; variants 2, newest 2 majors and 1 patch: 1 selected"


def test_some_tags_are_named_of_many() -> None:
    selection = TagPolicy(versions=VERSIONS).begin([f"name-{n}" for n in range(1204)])
    selection.finish({}, NOW)
    assert selection.describe() == "1,204 tags; no version 0: 0 selected"
    assert selection.explain() == "dropped as no version: 1,204 (name-0, name-1, name-2, …)"


def test_dates_are_needed_only_where_they_decide() -> None:
    newest = TagPolicy(newest=NewestTags(4, "date"))
    assert newest.begin(TAGS).needs_dates
    assert not newest.begin(TAGS[:4]).needs_dates
    assert TagPolicy(max_age=timedelta(days=1)).begin(TAGS[:1]).needs_dates
    assert not TagPolicy(max_age=timedelta(days=1), include=patterns("no")).begin(TAGS).needs_dates
    assert not TagPolicy(newest=NewestVersions(1)).begin(TAGS).needs_dates


def test_an_age_may_be_longer_than_there_are_dates() -> None:
    policy = TagPolicy(include=patterns("1.25.4"), max_age=timedelta(weeks=999_999))
    assert select(policy, dates={"1.25.4": NOW}) == ["1.25.4"]


def test_what_may_be_taken_and_what_is_certain() -> None:
    settled = TagPolicy(include=patterns("1.*"), exclude=patterns("1.9"), always=frozenset({"latest", "1.9"}))
    assert [settled.may_take(tag) for tag in ("1.2", "1.9", "latest", "2.0", SIGNATURE)] == [
        True,
        False,
        True,
        False,
        False,
    ]
    newest = TagPolicy(newest=NewestVersions(1), always=frozenset({"latest"}))
    assert [newest.may_take(tag) for tag in ("1.2", "latest", "other")] == [True, True, False]
    assert [settled.takes("1.2"), settled.takes("2.0")] == [True, False]
    assert [newest.takes("1.2"), newest.takes("latest")] == [False, True]


def test_too_few() -> None:
    with pytest.raises(TooFewTags) as caught:
        select(TagPolicy(include=patterns("9.*"), at_least=1))
    assert str(caught.value) == "11 tags; include 0: 0 selected: at least 1 are wanted (at_least)"


def test_nothing_listed_is_nothing_selected() -> None:
    assert select(TagPolicy(newest=NewestVersions(1)), []) == []


@given(st.lists(st.sampled_from(TAGS)), st.integers(1, 3))
def test_every_tag_is_selected_or_dropped_once(tags: list[str], count: int) -> None:
    policy = TagPolicy(exclude=patterns("*-windows"), newest=NewestVersions(count))
    selection = policy.begin(tags)
    selected = selection.finish({}, NOW)
    dropped = [tag for stage in selection.dropped.values() for tag in stage]
    assert sorted(selected + dropped) == sorted(set(tags))
