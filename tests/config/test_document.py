"""YAML and JSON as text editors and other programs write them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from imageferry.config import ConfigurationError, load_text
from imageferry.config.document import Number
from imageferry.config.text import yaml_reader
from imageferry.config.text.read import read_document


def plain(text: str, name: str = "c.yaml") -> Any:
    document = read_document(text, name)
    assert document.diagnostics == []
    return document.value


@pytest.mark.parametrize("text", ["yes", "no", "on", "off", "Y", "22:30", "1_000", "2024-01-01", "0b1", "=", "v1"])
def test_what_is_special_in_old_yaml_only_is_text(text: str) -> None:
    assert plain(f"k: {text}") == {"k": text}


@pytest.mark.parametrize("text", ["0755", "1", "-3", "1.10", "1e3", "0x1F", "0o17", ".inf", "-.inf", ".nan", ".5"])
def test_a_number_keeps_how_it_was_written(text: str) -> None:
    assert plain(f"k: {text}") == {"k": Number(text)}
    assert plain(f"k: '{text}'") == plain(f'k: "{text}"') == plain(f"k: !!str {text}") == {"k": text}


def test_the_constants_of_yaml() -> None:
    assert plain("[true, False, TRUE, null, ~, , ''] ".replace(", ,", ", Null,")) == [
        True,
        False,
        True,
        None,
        None,
        None,
        "",
    ]


def test_a_key_is_text_as_it_is_written() -> None:
    assert plain("{0755: a, true: b, 1.0: c}") == {"0755": "a", "true": "b", "1.0": "c"}


def test_anchors_and_merges_are_resolved() -> None:
    text = """
    a: &a {username: u, password: p}
    b: &b {<<: *a, password: own}
    c: {insecure: true, <<: [*b, *a]}
    d: *a
    """
    value = plain(text)
    assert value["b"] == {"username": "u", "password": "own"}
    assert value["c"] == {"username": "u", "password": "own", "insecure": True}
    assert value["d"] == value["a"]


def test_a_quoted_merge_key_is_a_key() -> None:
    assert plain('{"<<": x}') == {"<<": "x"}


def test_a_key_given_twice_in_an_anchor_is_reported_at_its_position() -> None:
    document = read_document("a:\n  k: 1\n  'k': 2\n", "c.yaml")
    (diagnostic,) = document.diagnostics
    assert (diagnostic.line, diagnostic.key) == (3, "a.k")


def test_json_with_tabs_and_crlf_has_its_positions() -> None:
    text = '\t{\r\n\t"images":\t{\r\n\t\t"b"\t:\t"x.example/b"\t}\r\n\t}\r\n'
    for name in ("c.json", "c.yaml", "stored"):
        document = read_document(text, name)
        assert document.value == {"images": {"b": "x.example/b"}}
        assert document.keys["images", "b"] == (3, 3)
        assert document.values["images", "b"] == (3, 9)


@pytest.mark.parametrize("name", ["c.json", "c.yaml"])
def test_json_escapes_are_decoded(name: str) -> None:
    value: dict[str, Any] = {
        "k": 'a"b\\c/\n\t\u00e9\U0001f600',
        "\U0001f600": [],
        "l": [None, True, False, {}, [[]]],
    }
    assert plain(json.dumps(value), name) == value
    assert plain(json.dumps(value, ensure_ascii=False), name) == value
    assert plain('{"a": "\\/"}', name) == {"a": "/"}


def test_json_numbers_keep_how_they_were_written() -> None:
    assert plain('{"a": 1.50, "b": -0, "c": ' + "9" * 6000 + "}", "c.json")["a"] == Number("1.50")


def test_a_byte_order_mark_is_skipped() -> None:
    for name in ("c.json", "c.yaml"):
        document = read_document(b'\xef\xbb\xbf{"a": "b"}', name)
        assert document.value == {"a": "b"}
        assert document.keys[("a",)] == (1, 2)
    assert load_text("\ufeffimages: {b: x.example/b}", "c.yaml", environment={}).rules


@pytest.mark.parametrize(
    ("data", "place", "words"),
    [
        (b"images:\n  b\xff: c\n", (2, 4), "byte 0xff is not UTF-8"),
        ("images:\n  é".encode() + b"\xe9: c\n", (2, 4), "byte 0xe9 is not UTF-8"),
        ("images: {}".encode("utf-16"), (1, 1), "is UTF-16"),
        (b"a: \x00", (1, 4), "U+0000"),
    ],
)
def test_bytes_that_are_no_text_are_refused_with_their_position(
    data: bytes, place: tuple[int, int], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words.replace("+", r"\+")) as caught:
        read_document(data, "c.yaml")
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.line, diagnostic.column) == place


def test_the_parser_in_python_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(yaml.SafeLoader):
        resolve = yaml_reader._Loader.resolve

    text = "a: &a {k: yes, l: 0755, m: '1'}\nb: {<<: *a, n: ~}\n"
    fast = read_document(text, "c.yaml")
    monkeypatch.setattr(yaml_reader, "_Loader", Slow)
    slow = read_document(text, "c.yaml")
    assert (slow.value, slow.keys, slow.values) == (fast.value, fast.keys, fast.values)
    for bad in ("[" * 100_000, "a: *b", "a: [", "a: @b", "!x!y z", "a: b\n---\nc: d"):
        with pytest.raises(ConfigurationError):
            read_document(bad, "c.yaml")
