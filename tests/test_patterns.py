"""Patterns of tags and of repositories."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageferry.patterns import Pattern, PatternError, Patterns, translate_glob


@pytest.mark.parametrize(
    ("text", "matching", "others"),
    [
        ("16*", "16 16.1-alpine", "v16 116"),
        ("*-windows*", "1-windows-x", "windows"),
        ("v1.?", "v1.2", "v1.22 v1x2"),
        ("[!v]*", "1 x", "v1"),
        ("[a-c]1", "b1", "d1"),
        ("{a,b*}/c", "a/c bb/c", "c/c"),
        ("a.b", "a.b", "axb"),
        ("a+b", "a+b", "aab"),
        ("*", "a", "a/b"),
        ("team/*", "team/a", "team/a/b other/a"),
        ("team/**", "team/a team/a/b", "other/a team"),
        ("**/*-cache", "x-cache a/x-cache a/b/x-cache", "a/cache"),
        ("**", "a a/b", ""),
        ("/bullseye/", "1-bullseye-2", "bookworm"),
        (r"/^team\/(a|b)\//", "team/a/x", "team/c/x xteam/a/x"),
    ],
)
def test_what_a_pattern_matches(text: str, matching: str, others: str) -> None:
    pattern = Pattern(text)
    assert [name for name in matching.split() if not pattern.matches(name)] == []
    assert [name for name in others.split() if pattern.matches(name)] == []


def test_one_of_several_matches() -> None:
    patterns = Patterns.parse(["1.*", "latest"])
    assert [name for name in ("1.2", "latest", "2.0") if patterns.matches(name)] == ["1.2", "latest"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("/(/", "'(' is not a regular expression (RE2): missing ): ("),
        ("[z-a]", "'[z-a]' is not a pattern: invalid character class"),
    ],
)
def test_what_is_no_pattern(text: str, problem: str) -> None:
    with pytest.raises(PatternError, match=re.escape(problem)):
        Pattern(text)


@given(st.text(alphabet="ab*?[]{},!^-/\\.+() ", max_size=30), st.text(alphabet="ab/.", max_size=10))
def test_any_text_is_a_glob_or_an_error(text: str, name: str) -> None:
    try:
        pattern = Pattern(text)
    except PatternError:
        return
    assert pattern.matches(name) in (True, False)


@given(st.text(max_size=20).filter(lambda text: not re.search(r"[*?\[\]{}]", text) and not text.startswith("/")))
def test_a_text_without_wildcards_matches_itself_alone(text: str) -> None:
    assert Pattern(text).matches(text)
    assert not Pattern(text).matches(text + "x")


def test_what_stars_match_can_be_captured() -> None:
    found = re.fullmatch(translate_glob("quay.io/**/v*", capture=True).replace(r"\z", r"\Z"), "quay.io/a/b/v1")
    assert found is not None
    assert found.groups() == ("a/b", "1")
