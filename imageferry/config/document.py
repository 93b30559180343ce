"""A configuration file as plain values, each with the line and the column where it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from imageferry.config.faults import ConfigurationError, Fault

KeyPath = tuple[str | int, ...]

#: More is no configuration, and would fill the memory before anything can be said.
SIZE_LIMIT = 64 * 1024 * 1024

#: Deeper nesting than any configuration has; keeps the recursion that reads it bounded.
DEPTH_LIMIT = 40

# What YAML forbids in a file; JSON forbids most of it too.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


class Mark(NamedTuple):
    """A line and a column, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Number:
    """A number, as it was written: no key takes one, and turning it to text would lose ``0755``."""

    text: str


@dataclass(slots=True)
class Document:
    """The plain values of one file: dict, list, str, bool, None and ``Number``, and where each stands.

    ``keys`` and ``values`` give the places of a mapping's key and of what it holds, by the path to it.
    ``faults`` are those found so far; ``broken`` says that values are lost, and that it is no use
    to check the rest.
    """

    name: str
    value: Any = field(default=None, repr=False)
    keys: dict[KeyPath, Mark] = field(default_factory=dict)
    values: dict[KeyPath, Mark] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    broken: bool = False

    def report(self, path: KeyPath, problem: str, *, at_key: bool = False) -> None:
        """Note a fault of the value at ``path``, or of its key."""
        self.faults.append(self._fault(path, problem, self.key_mark(path) if at_key else self._mark(path)))

    def report_at(self, mark: Mark, path: KeyPath, problem: str) -> None:
        """Note a fault at a place that has no path of its own."""
        self.faults.append(self._fault(path, problem, mark))

    def key_mark(self, path: KeyPath) -> Mark:
        """Give the place of the key at ``path`` (of an item of a list, its own place)."""
        return self.keys.get(path) or self._mark(path)

    def at(self, path: KeyPath) -> Any:
        """Give the value at ``path``."""
        value = self.value
        for step in path:
            value = value[step]
        return value

    def _mark(self, path: KeyPath) -> Mark:
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Mark(0, 0))

    def _fault(self, path: KeyPath, problem: str, mark: Mark) -> Fault:
        return Fault(self.name, mark.line, mark.column, dotted(path), problem)


# A user name and a password in an address that was written as a key.
_USER = re.compile(r"(?<=//)[^/\s]*@|(?<=^auth\.)[^/\s]*@")


def dotted(path: KeyPath) -> str:
    """Give a path as text, such as ``images[2].from``; a password in it is left out."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f"{'.' if text else ''}{step}"
    return _USER.sub("…@", text)


def kind(value: object) -> str:
    """Say what a value is, and never what it holds."""
    if value is None:
        return "nothing"
    for of, words in ((bool, "true or false"), (Number, "a number"), (str, "text"), (list, "a list")):
        if isinstance(value, of):
            return words
    return "a mapping"


def read_document(data: bytes | str, name: str) -> Document:
    """Read the text of a file named ``name``: JSON if it ends in ``.json`` or is JSON, else YAML.

    Raises ``ConfigurationError`` when it cannot be read at all; what is wrong inside it stands in ``faults``.
    """
    text = decode(data, name) if isinstance(data, bytes) else data.removeprefix("\ufeff")
    _refuse_controls(text, name)
    if not text.strip():
        raise ConfigurationError([Fault(name, 0, 0, "", "is empty: expected at least images")])
    from imageferry.config import jsontext, yamltext  # noqa: PLC0415 - both build on this module

    if name.lower().endswith(".json"):
        if (error := jsontext.syntax_error(text)) is not None:
            raise ConfigurationError([jsontext.explain(error, name, yamltext.is_block_mapping(text))])
        return jsontext.read(text, name)
    # JSON in a file of another name: YAML would refuse its tabs and its surrogate pairs.
    if text.lstrip()[0] in "{[" and jsontext.syntax_error(text) is None:
        return jsontext.read(text, name)
    return yamltext.read(text, name)


def decode(data: bytes, name: str) -> str:
    """Decode UTF-8, with or without a byte order mark; raises ``ConfigurationError`` with the line."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ConfigurationError([Fault(name, 1, 1, "", "is UTF-16: save it as UTF-8")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8-sig")) + 1
        fault = Fault(name, line, column, "", f"byte 0x{data[error.start]:02x} is not UTF-8: save the file as UTF-8")
    raise ConfigurationError([fault])


def mark_of(text: str, offset: int) -> Mark:
    """Give the place of the character at ``offset``."""
    return Mark(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def _refuse_controls(text: str, name: str) -> None:
    found = _CONTROL.search(text)
    if found is not None:
        mark = mark_of(text, found.start())
        problem = f"the character U+{ord(found[0]):04X} is not allowed: write it as an escape in double quotes"
        raise ConfigurationError([Fault(name, mark.line, mark.column, "", problem)])
