"""The challenges of a 401 answer."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageferry.registry.http.challenge import Challenge, parse_challenges


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], []),
        (["Basic"], [Challenge("basic", {})]),
        (['Basic realm="a, b"'], [Challenge("basic", {"realm": "a, b"})]),
        (
            ['Bearer realm="https://x/token",service="s",scope="repository:a/b:pull,push"'],
            [Challenge("bearer", {"realm": "https://x/token", "service": "s", "scope": "repository:a/b:pull,push"})],
        ),
        (
            ['Basic realm="x", BEARER Realm = https://y/t , service=z'],
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "https://y/t", "service": "z"})],
        ),
        (["Negotiate", 'Bearer realm="x"'], [Challenge("negotiate", {}), Challenge("bearer", {"realm": "x"})]),
        (['Negotiate, Basic realm="a \\"b\\""'], [Challenge("negotiate", {}), Challenge("basic", {"realm": 'a "b"'})]),
        (['Bearer realm="x",error="invalid_token"'], [Challenge("bearer", {"realm": "x", "error": "invalid_token"})]),
    ],
)
def test_challenges(headers: list[str], expected: list[Challenge]) -> None:
    assert parse_challenges(headers) == expected


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=255), max_size=200))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    for challenge in parse_challenges([text]):
        assert challenge.scheme == challenge.scheme.lower()


@pytest.mark.parametrize(
    "header",
    [
        "Bearer a=" + " " * 99_999 + "x y",
        "a " * 50_000 + '"',
        'a b="' + "\\" * 99_999,
        " ," * 50_000,
    ],
)
def test_no_challenge_takes_long(header: str) -> None:
    began = time.process_time()
    parse_challenges([header])
    assert time.process_time() - began < 0.2
