"""Foreign text that Prefect's UI shows."""

import pytest

from orchestration.artifacts.markup import quote_markup


@pytest.mark.parametrize(
    "text",
    [
        "",
        "quay.io/team/my_app:v1.0_2-rc.1",
        "docker.io/library/alpine@sha256:" + "a1" * 32,
        "127.0.0.1:5000/a/app:v1 answered 404 Not Found (MANIFEST_UNKNOWN: manifest unknown); is it there?",
    ],
)
def test_what_holds_no_markup_stays_as_it_is(text: str) -> None:
    assert quote_markup(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "[run](javascript:alert(1))",
        '<img src=x onerror="alert(1)">',
        "see https://evil.example/p",
        "see WWW.evil.example",
        "me@evil.example",
        "a | b",
        "**bold**",
        "app:__bold__",
        "~~gone~~",
        "&lt;img&gt;",
        "# head",
        "- item",
        "1. item",
        "quay.io/a/app:/^v[12]$/",
    ],
)
def test_what_could_be_markup_is_a_span_of_code(text: str) -> None:
    assert quote_markup(text) == f"`{text}`"


def test_a_span_does_not_end_within_the_text() -> None:
    assert quote_markup("a`b") == "``a`b``"
    assert quote_markup("``` [x](y) `") == "```` ``` [x](y) ` ````"


def test_line_breaks_and_direction_characters_are_visible() -> None:
    assert quote_markup("a\n\n# b \u202egnp.exe") == r"`a\n\n# b \u202egnp.exe`"
