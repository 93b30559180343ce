"""A configuration file as plain values, each with the line and the column where it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from imageferry.config.diagnostics import Diagnostic

KeyPath = tuple[str | int, ...]

#: Deeper nesting than any configuration has; keeps the recursion that reads it bounded.
DEPTH_LIMIT = 40


class Position(NamedTuple):
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
    keys: dict[KeyPath, Position] = field(default_factory=dict)
    values: dict[KeyPath, Position] = field(default_factory=dict)
    faults: list[Diagnostic] = field(default_factory=list)
    broken: bool = False

    def report(self, path: KeyPath, problem: str, *, at_key: bool = False) -> None:
        """Note a fault of the value at ``path``, or of its key."""
        self.faults.append(self._fault(path, problem, self.key_mark(path) if at_key else self._mark(path)))

    def report_at(self, mark: Position, path: KeyPath, problem: str) -> None:
        """Note a fault at a place that has no path of its own."""
        self.faults.append(self._fault(path, problem, mark))

    def key_mark(self, path: KeyPath) -> Position:
        """Give the place of the key at ``path`` (of an item of a list, its own place)."""
        return self.keys.get(path) or self._mark(path)

    def at(self, path: KeyPath) -> Any:
        """Give the value at ``path``."""
        value = self.value
        for step in path:
            value = value[step]
        return value

    def _mark(self, path: KeyPath) -> Position:
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Position(0, 0))

    def _fault(self, path: KeyPath, problem: str, mark: Position) -> Diagnostic:
        return Diagnostic(self.name, mark.line, mark.column, format_path(path), problem)


# A user name and a password in an address that was written as a key.
_USER = re.compile(r"(?<=//)[^/\s]*@|(?<=^auth\.)[^/\s]*@")


def format_path(path: KeyPath) -> str:
    """Give a path as text, such as ``images[2].from``; a password in it is left out."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f"{'.' if text else ''}{step}"
    return _USER.sub("…@", text)


def type_name(value: object) -> str:
    """Say what a value is, and never what it holds."""
    if value is None:
        return "nothing"
    for of, words in ((bool, "true or false"), (Number, "a number"), (str, "text"), (list, "a list")):
        if isinstance(value, of):
            return words
    return "a mapping"
