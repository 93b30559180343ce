"""The newest of some versions or tags."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageferry.newest import NewestTags, NewestVersions, parse_date
from imageferry.versions import Version, parse_version

MANY = ["1.0", "1.1", "1.1-alpine3.1", "1.0-alpine3.2", "2.0-rc1", "2.0", "v2.0", "3", "3.1-r1", "3.1-r10", "1.1.7"]


def versions(tags: str) -> list[Version]:
    return [version for tag in tags.split() if (version := parse_version(tag)) is not None]


@pytest.mark.parametrize(
    ("newest", "tags", "taken"),
    [
        (NewestVersions(2), "1.0 1.1 1.2 0.9", "1.1 1.2"),
        # Each variant has its own, and what differs in its numbers is one variant.
        (
            NewestVersions(1),
            "1.1 1.2 1.2-alpine3.20 1.2-alpine3.21 1.1-alpine3.20",
            "1.2 1.2-alpine3.20 1.2-alpine3.21",
        ),
        (NewestVersions(1), "1.2 v1.2.0 1.1", "1.2 v1.2.0"),
        (NewestVersions(1), "1.2-rc1 1.1", "1.2-rc1"),
        (NewestVersions(majors=1), "1.9 2.0 2.1.3", "2.0 2.1.3"),
        (NewestVersions(majors=2, minors=1, patches=1), "1.9.9 2.0 2.1.1 2.1.2 3.0 3.0.1", "2.1.2 3.0.1"),
        (NewestVersions(minors=2), "1.1 1.2 1.3 2.0", "1.2 1.3 2.0"),
        (NewestVersions(patches=1), "1.1.1 1.1.2 1.2.0 2.0.0 2.0.0.1", "1.1.2 1.2.0 2.0.0.1"),
        (NewestVersions(3), "", ""),
    ],
)
def test_the_newest_versions(newest: NewestVersions, tags: str, taken: str) -> None:
    assert newest.select(versions(tags)) == set(taken.split())


@given(
    st.permutations(MANY),
    st.integers(1, 5),
    st.sampled_from(["versions", "majors", "minors", "patches"]),
)
def test_the_order_of_the_tags_does_not_matter(tags: list[str], count: int, level: str) -> None:
    newest = NewestVersions(**{level: count})
    assert newest.select(versions(" ".join(tags))) == newest.select(versions(" ".join(sorted(tags))))


def test_the_newest_tags_by_version() -> None:
    tags = ["1.0", "1.1", "1.1-r1", "1.1-r2", "1.1-r10"]
    assert NewestTags(2).select(tags, {}) == {
        "1.0",
        "1.1",
        "1.1-r2",
        "1.1-r10",
    }


def test_the_newest_tags_by_date() -> None:
    """What has no date is taken as well."""
    dates = {tag: datetime(2026, 1, day, tzinfo=UTC) for day, tag in enumerate(["a", "b", "c"], 1)}
    assert NewestTags(2, "date").select(["c", "b", "a", "undated"], dates) == {"b", "c", "undated"}


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789+01:00", datetime(2026, 1, 2, 2, 4, 5, 123456, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("1970-01-01T00:00:00Z", None),
        ("1980-01-01T00:00:01Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_dates(text: str, date: datetime | None) -> None:
    assert parse_date(text) == date
