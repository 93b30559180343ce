"""Numbers, errors and untrusted text, formatted for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageferry.text import (
    describe_exception,
    escape_control,
    format_count,
    format_duration,
    format_size,
    short_digest,
    shorten_repr,
)


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
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert escape_control(text) == shown


@given(st.text(st.characters()))
def test_escaped_text_stays_as_it_is_and_fits_into_a_file(text: str) -> None:
    once = escape_control(text)
    assert escape_control(once) == once
    assert not any(ord(each) < 32 or 0x7F <= ord(each) < 0xA0 for each in once)
    once.encode()


def test_the_repr_of_any_value_is_short() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    for value in (deep, "x" * 5_000_000, {"a": deep}, list(range(100_000)), b"x" * 5_000_000):
        assert len(shorten_repr(value)) < 1000
    assert shorten_repr("a\x1b") == "'a\\x1b'"


def test_an_exception_without_a_message_is_named_by_its_class() -> None:
    assert describe_exception(TimeoutError()) == "TimeoutError"
    assert describe_exception(OSError("no route")) == "no route"


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_949, "9.9 kB"),
        (9_951, "10 kB"),
        (999_600, "1.0 MB"),
        (132_000_000, "132 MB"),
        (5e15, "5000 TB"),
    ],
)
def test_sizes_are_in_powers_of_1000(count: float, shown: str) -> None:
    assert format_size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.44, "0.4 s"), (41, "41 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7_620, "2 h 7 min")],
)
def test_durations_have_two_units_at_most(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


def test_counts_have_a_noun_in_its_number() -> None:
    assert [format_count(number, "image") for number in (0, 1, 1_200)] == ["0 images", "1 image", "1,200 images"]
    assert format_count(2, "registry", "registries") == "2 registries"


def test_a_short_digest_is_dockers() -> None:
    assert short_digest("sha256:" + "0123456789abcdef" * 4) == "0123456789ab"
