"""Ranges of versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageferry.version_range import RangeError, VersionRange
from imageferry.versions import parse_version


def takes(text: str, tag: str, *, prereleases: bool = False) -> bool:
    version = parse_version(tag)
    assert version is not None
    return VersionRange.parse(text).contains(version, prereleases=prereleases)


@pytest.mark.parametrize(
    ("text", "taken", "left"),
    [
        ("=1.2", "1.2 1.2.0 v1.2.0 1.2-alpine", "1.2.1 1.2.0-rc1"),
        ("1.2.3", "1.2.3 v1.2.3-debian", "1.2.4"),
        (">=16 <18", "16 17.5 16.0-alpine", "15.9 18 18.0-rc1 16-rc1"),
        (">=16,<18", "16 17.5", "18"),
        (">= 16 < 18", "16 17.5", "18"),
        ("<4.0", "3.9.9", "4.0 4.0-rc1"),
        (">1.2 !=1.3", "1.2.1 1.4", "1.2 1.3 1.3.0-alpine"),
        ("<=2.0", "1.9 2.0 2", "2.0.1"),
        ("~1.2", "1.2 1.2.9", "1.1 1.3"),
        ("~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3"),
        ("~1", "1.0 1.9", "2"),
        ("^1.2", "1.2 1.9", "1.1 2"),
        ("^0.2", "0.2 0.2.9", "0.3 1"),
        ("^0.2.3", "0.2.3 0.2.9", "0.2.2 0.3"),
        ("^0.0.3", "0.0.3", "0.0.4"),
        ("^0.0", "0.0.9", "0.1"),
        ("^0", "0.9", "1"),
        ("1.2.x", "1.2 1.2.9", "1.3 1.1.9"),
        ("1.2.*", "1.2.0", "1.3"),
        (">1.2.x", "1.3", "1.2.9"),
        ("<=1.2.x", "1.2.9", "1.3"),
        ("*", "0.0.1 9", "1.0-rc1"),
        ("1.0 || >=2 <3", "1.0 2.5", "1.1 3"),
        (">=1.0.0-rc.1", "1.0.0-rc.1 1.0.0-rc2 1.0.0 1.1", "1.0.0-beta1 1.1.0-rc1"),
        ("<1.0.0-rc.2", "1.0.0-rc.1 0.9", "1.0.0-rc.2 1.0.0"),
        ("^1.2.3-beta.2", "1.2.3-beta.2 1.2.3-rc1 1.9", "1.2.3-beta.1 1.2.4-beta.2 2.0.0"),
    ],
)
def test_what_a_range_takes(text: str, taken: str, left: str) -> None:
    assert [tag for tag in taken.split() if not takes(text, tag)] == []
    assert [tag for tag in left.split() if takes(text, tag)] == []


@pytest.mark.parametrize(("text", "tag", "taken"), [(">=16", "17-rc1", True), ("<4.0", "4.0-rc1", False)])
def test_prereleases_that_are_wanted(text: str, tag: str, *, taken: bool) -> None:
    assert takes(text, tag, prereleases=True) == taken


@given(
    st.tuples(*[st.integers(0, 9)] * 2),
    st.sampled_from(["alpha", "beta", "rc", "dev", "M"]),
    st.booleans(),
)
def test_less_than_a_release_takes_no_prerelease_of_it(
    numbers: tuple[int, ...],
    word: str,
    prereleases: bool,
) -> None:
    release = ".".join(map(str, numbers))
    assert not takes(f"<{release}", f"{release}-{word}1", prereleases=prereleases)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (">=16 <", "'>=16 <' is not a range: ends after '<'"),
        ("latest", "'latest' is not a version; a tag by name belongs into include or always"),
        ("", "'' is not a range: expected a version, as in '>=1.2 <2'"),
        (">=1 ||", "'>=1 ||' is not a range: there is nothing on one side of '||'"),
        ("=> 1", "'=> 1' is not a range: there is no operator '=>', but =, ==, !=, >, >=, <, <=, ~, ^"),
        ("< > 1", "'< > 1' is not a range: '<' stands before no version"),
        ("1.2-alpine", "'1.2-alpine' is not a version; variants stand in variants"),
    ],
)
def test_what_is_no_range(text: str, problem: str) -> None:
    with pytest.raises(RangeError) as caught:
        VersionRange.parse(text)
    assert str(caught.value) == problem


@given(st.text(alphabet="<>=!~^|,. 0123456789xX*rcv-", max_size=200))
def test_any_text_is_a_range_or_an_error(text: str) -> None:
    try:
        VersionRange.parse(text)
    except RangeError:
        return
