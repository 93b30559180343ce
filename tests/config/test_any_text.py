"""Any text is either a configuration or an error with a message."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from imageferry.config import ConfigurationError, load_text
from imageferry.config.document import Number
from imageferry.config.text.read import read_document

VALID = """\
auth: &a
  quay.io: &q {username: "${U}", password: 'p', insecure: true}
  docker.io/team/: {<<: *q, proxy: http://p:1}
defaults: {registry: x.example, namespace: mirror}
images:
  quay.io/a/b:v1,v2: [x.example/b:a,b, "${U}/c"]
  b:/^v0\\.2/: ""
  - from: c@sha256:0
"""
WORDS = [
    "auth",
    "images",
    "defaults",
    ":",
    "- ",
    "\n",
    "  ",
    "{",
    "}",
    "[",
    "]",
    "'",
    '"',
    "&a",
    "*a",
    "<<",
    "!",
    "\\",
]
WORDS += [
    "from",
    "to",
    "registry",
    "b:v1",
    "x.example/b",
    "${U}",
    "$",
    "1",
    "true",
    "~",
    ",",
    "@",
    "/x/",
    "\t",
    "\ud800",
]


def read_or_refuse(text: str, name: str) -> None:
    try:
        load_text(text, name, environment={"U": "u"})
    except ConfigurationError as error:
        diagnostics = error.diagnostics
    else:
        return
    assert diagnostics
    assert all(diagnostic.message and diagnostic.file == name for diagnostic in diagnostics)


NAMES = st.sampled_from(["c.json", "c.yaml"])


@settings(deadline=None)
@given(st.text(), NAMES)
def test_any_text_is_read_or_refused(text: str, name: str) -> None:
    read_or_refuse(text, name)


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS)).map("".join), NAMES)
def test_any_sequence_of_tokens_is_read_or_refused(text: str, name: str) -> None:
    read_or_refuse(text, name)


@settings(deadline=None)
@given(st.integers(0, len(VALID)), st.integers(0, 30), st.sampled_from(["", *WORDS]))
def test_a_valid_text_with_a_slip_is_read_or_refused(start: int, length: int, instead: str) -> None:
    read_or_refuse(VALID[:start] + instead + VALID[start + length :], "c.yaml")


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(WORDS[:-1])
KEYS = st.sampled_from(["auth", "images", "defaults", "from", "to", "platforms", "registry", "username", "b:v1"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=4),
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4), st.sampled_from([None, 1]))
def test_any_values_are_read_or_refused(value: dict[str, Any], indent: int | None) -> None:
    read_or_refuse(json.dumps(value, indent=indent), "c.json")


@settings(deadline=None)
@given(VALUES)
def test_json_is_read_as_it_was_written(value: Any) -> None:
    document = read_document(json.dumps(value), "c.json")
    assert document.diagnostics == []
    assert document.value == _numbered(value)


def _numbered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbered(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_numbered(each) for each in value]
    return Number(str(value)) if isinstance(value, int) and not isinstance(value, bool) else value
