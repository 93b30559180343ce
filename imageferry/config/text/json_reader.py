"""JSON to plain values with their positions (RFC 8259)."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import Any

from imageferry.config.diagnostics import ConfigurationError
from imageferry.config.document import DEPTH_LIMIT, Document, KeyPath, Number, Position, is_repeated_rule

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_WORD = re.compile(r"[^\s,\]}]+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONSTANTS = {"true": True, "false": False, "null": None}


def syntax_error(text: str) -> json.JSONDecodeError | None:
    """Return the syntax error of a text, or None if it is JSON."""
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        return error
    except RecursionError:
        return json.JSONDecodeError("it is nested too deep", text, 0)
    return None


def explain(error: json.JSONDecodeError, name: str, *, is_yaml: bool) -> ConfigurationError:
    """Return a syntax error as one of the configuration, with what was probably meant."""
    hint = _hint(error)
    if is_yaml:
        hint = "; it looks like YAML: give the file a name that ends in .yaml"
    return ConfigurationError.of(name, f"is not JSON: {error.msg}{hint}", error.lineno, error.colno)


def _hint(error: json.JSONDecodeError) -> str:
    text, position = error.doc, error.pos
    here = text[position : position + 1]
    before = text[:position].rstrip()[-1:]
    if "escape" in error.msg:
        return r"; a backslash is written twice, as in \\d"
    if here in ("/", "#"):
        return "; JSON has no comments"
    if here == "'":
        return "; JSON's quotes are double"
    if before == "," and here in ("}", "]", ","):
        return f"; there is a comma too many before {here!r}"
    return "; is one missing before it?" if "','" in error.msg and here in ('"', "{", "[") else ""


def read(text: str, name: str) -> Document:
    """Parse a text that is JSON (see ``syntax_error``). Raises ``ConfigurationError`` if it is nested too deep."""
    reader = _Reader(text, Document(name), [found.end() for found in re.finditer("\n", text)])
    reader.document.value, _ = reader.value(_skip(text, 0), ())
    return reader.document


class _Reader:
    """Walks valid JSON once, recording the position of each key and value."""

    def __init__(self, text: str, document: Document, breaks: list[int]) -> None:
        self.document = document
        self._text = text
        self._breaks = breaks

    def value(self, position: int, path: KeyPath) -> tuple[Any, int]:
        """Parse the value that begins at offset ``position``; return it and the offset after it."""
        self.document.values[path] = self._position_of(position)
        if len(path) > DEPTH_LIMIT:
            raise ConfigurationError.of(self.document.name, "is nested too deep", *self._position_of(position))
        match self._text[position]:
            case "{":
                return self._mapping(position, path)
            case "[":
                return self._list(position, path)
            case '"':
                return self._string(position, path)
            case _:
                word, end = _match(_WORD, self._text, position)
                return (_CONSTANTS[word] if word in _CONSTANTS else Number(word)), end

    def _mapping(self, position: int, path: KeyPath) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        position = _skip(self._text, position + 1)
        while self._text[position] != "}":
            key_position = self._position_of(position)
            key, position = self._string(position, path)
            colon = _skip(self._text, position)
            inner = (*path, key)
            start = _skip(self._text, colon + 1)
            if key in found:
                second, position = self._scratch_reader().value(start, inner)
                if not is_repeated_rule(path, key, found[key], second):
                    first = self.document.keys[inner]
                    self.document.report_at(key_position, inner, f"is given twice: it stands on line {first.line} too")
            else:
                self.document.keys[inner] = key_position
                found[key], position = self.value(start, inner)
            position = self._next(position)
        return found, position + 1

    def _list(self, position: int, path: KeyPath) -> tuple[list[Any], int]:
        found: list[Any] = []
        position = _skip(self._text, position + 1)
        while self._text[position] != "]":
            value, position = self.value(position, (*path, len(found)))
            found.append(value)
            position = self._next(position)
        return found, position + 1

    def _string(self, position: int, path: KeyPath) -> tuple[str, int]:
        token, end = _match(_STRING, self._text, position)
        if "\\" not in token:
            return token[1:-1], end
        value: str = json.loads(token)
        if _SURROGATE.search(value):
            self.document.report_at(
                self._position_of(position), path, r"an escape \ud800 to \udfff without its other half"
            )
            self.document.broken = True
        return value, end

    def _scratch_reader(self) -> _Reader:
        """Return a reader whose result is dropped: for the value of a key given twice."""
        return _Reader(self._text, Document(self.document.name), self._breaks)

    def _next(self, position: int) -> int:
        position = _skip(self._text, position)
        return _skip(self._text, position + 1) if self._text[position] == "," else position

    def _position_of(self, offset: int) -> Position:
        line = bisect_right(self._breaks, offset)
        return Position(line + 1, offset - (self._breaks[line - 1] if line else 0) + 1)


def _skip(text: str, position: int) -> int:
    return _match(_SPACE, text, position)[1]


def _match(pattern: re.Pattern[str], text: str, position: int) -> tuple[str, int]:
    found = pattern.match(text, position)
    if found is None:
        raise ValueError(f"no JSON at {position}")
    return found[0], found.end()
