"""The version that a tag names."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semver import Version as SemanticVersion

from imageferry.versions import Prerelease, parse_version

RC, BETA = 4, 2

PARTS = st.sampled_from(
    ["v", "1", "0", "2", "10", ".", "-", "_", "+", "rc", "alpha", "beta", "alpine", "r", "jdk", "é", "²", "9" * 19]
)
TAGS = st.lists(PARTS, max_size=12).map("".join)


@pytest.mark.parametrize(
    ("tag", "numbers", "prerelease", "variant"),
    [
        ("v1.2.3", (1, 2, 3), None, ""),
        ("1.25.5-alpine3.20", (1, 25, 5), None, "alpine3.20"),
        ("17-jdk-jammy", (17,), None, "jdk-jammy"),
        ("1.0.0-rc.1-alpine", (1, 0, 0), Prerelease(RC, (1,)), "alpine"),
        ("1.2.3rc1", (1, 2, 3), Prerelease(RC, (1,)), ""),
        ("7.0.8-debian-11-r0", (7, 0, 8), None, "debian-11-r0"),
        ("v1.31.5_k3s1", (1, 31, 5), None, "k3s1"),
        ("1.0.0_build5", (1, 0, 0), None, "build5"),
        ("1.2.3.4", (1, 2, 3, 4), None, ""),
        ("2024.01.15", (2024, 1, 15), None, ""),
        ("1.2.3-20240115", (1, 2, 3), None, "20240115"),
        ("20240115", (20240115,), None, ""),
        ("4821903", (4821903,), None, ""),
        ("17-ea-11-jdk", (17,), Prerelease(BETA, (11,)), "jdk"),
        ("1.2.3-beta.x.7", (1, 2, 3), Prerelease(BETA), "x.7"),
        ("1.2-testing", (1, 2), None, "testing"),
        ("1.2-TEST", (1, 2), Prerelease(0), ""),
        ("1.0-dev" + "2" * 30, (1, 0), Prerelease(0, (int("2" * 30),)), ""),
    ],
)
def test_what_a_tag_names(tag: str, numbers: tuple[int, ...], prerelease: Prerelease | None, variant: str) -> None:
    version = parse_version(tag)
    assert version is not None
    assert (version.numbers, version.prerelease, version.variant) == (numbers, prerelease, variant)


@pytest.mark.parametrize(
    "tag",
    [
        "latest",
        "main-4f2c1d0",
        f"sha256-{'0' * 64}.sig",
        "RELEASE.2024-01-16T16-07-38Z",
        "1.2.3.4.5",
        "1.2.3foo",
        "9" * 19,
        "",
        "v",
        "1" + "-a" * 100,
        "١.٢",
    ],
)
def test_what_is_no_version(tag: str) -> None:
    assert parse_version(tag) is None


def test_the_order() -> None:
    """Numbers, pre-releases before the release, then variants, whose numbers count as numbers."""
    ordered = [
        "1.2.2",
        "1.2.3-dev",
        "1.2.3-alpha.2",
        "1.2.3-alpha.10",
        "1.2.3b1",
        "1.2.3-rc1",
        "1.2.3-rc2-alpine",
        "1.2.3",
        "1.2.3-debian-11-r2",
        "1.2.3-debian-11-r10",
        "1.2.3.1",
        "1.2.10",
        "1.10",
        "2",
    ]
    versions = [version for tag in reversed(ordered) if (version := parse_version(tag)) is not None]
    assert [version.tag for version in sorted(versions)] == ordered


@given(st.lists(TAGS, min_size=3, max_size=3, unique=True))
def test_the_order_is_total(tags: list[str]) -> None:
    versions = [version for tag in tags if (version := parse_version(tag)) is not None]
    for one, other in itertools.permutations(versions, 2):
        assert (one < other) + (other < one) + (one == other) == 1
    for a, b, c in itertools.permutations(versions, 3):
        assert not (a < b < c) or a < c


@given(st.text(max_size=10_000))
def test_any_text_is_a_version_or_none(text: str) -> None:
    version = parse_version(text)
    assert version is None or version.tag == text


@given(
    st.tuples(*[st.integers(0, 30)] * 3),
    st.sampled_from(["", "-alpha.1", "-alpha.2", "-beta.1", "-beta.11", "-rc.1", "-rc.2"]),
    st.tuples(*[st.integers(0, 30)] * 3),
    st.sampled_from(["", "-alpha.1", "-alpha.2", "-beta.1", "-beta.11", "-rc.1", "-rc.2"]),
)
def test_semantic_versions_have_their_order(
    one: tuple[int, ...], one_stage: str, other: tuple[int, ...], other_stage: str
) -> None:
    """As another library has it (semantic versioning 2.0.0, section 11)."""
    texts = [".".join(map(str, one)) + one_stage, ".".join(map(str, other)) + other_stage]
    ours = [parse_version(text) for text in texts]
    theirs = [SemanticVersion.parse(text) for text in texts]
    assert ours[0] is not None
    assert ours[1] is not None
    assert (ours[0] < ours[1]) == (theirs[0] < theirs[1])


def test_families() -> None:
    families = {tag: version.family for tag in ["1-alpine3.20", "2-alpine3.21", "3"] if (version := parse_version(tag))}
    assert families == {"1-alpine3.20": "alpine#.#", "2-alpine3.21": "alpine#.#", "3": ""}
