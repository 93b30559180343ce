"""Foreign text, as people read it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageferry.text import escape_control, shorten_repr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("没有权限\u3000ü", "没有权限\u3000ü"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\u202eabc\u200b", "\\u202eabc\\u200b"),
        ("\u2028\x9b", "\\u2028\\x9b"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert escape_control(text) == shown


@given(st.text(st.characters()))
def test_what_is_printable_stays_and_fits_into_a_file(text: str) -> None:
    once = escape_control(text)
    assert escape_control(once) == once
    assert not any(ord(each) < 32 or 0x7F <= ord(each) < 0xA0 for each in once)
    once.encode()


def test_quoted_is_short_whatever_it_is() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    for value in (deep, "x" * 5_000_000, {"a": deep}, list(range(100_000)), b"x" * 5_000_000):
        assert len(shorten_repr(value)) < 1000
    assert shorten_repr("a\x1b") == "'a\\x1b'"
