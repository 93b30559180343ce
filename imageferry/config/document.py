"""A configuration file as plain values, each with its line and column."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from imageferry.config.diagnostics import Diagnostic

KeyPath = tuple[str | int, ...]

# Deeper nesting than any configuration has; keeps the recursion that reads it bounded.
DEPTH_LIMIT = 40


class Position(NamedTuple):
    """A line and a column, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Number:
    """A number, as it was written: ``registries`` takes numbers, and converting it would lose a password ``0755``."""

    text: str


@dataclass(slots=True)
class Document:
    """The plain values of one file: dict, list, str, bool, None and ``Number``, and the position of each.

    ``keys`` and ``values`` have the positions of a mapping's keys and of their values, by the path to each.
    ``diagnostics`` are the errors found so far; ``broken`` says that values are lost, so that it makes no sense to
    check the rest.
    """

    name: str
    value: Any = field(default=None, repr=False)
    keys: dict[KeyPath, Position] = field(default_factory=dict)
    values: dict[KeyPath, Position] = field(default_factory=dict)
    # What YAML 1.1 takes for a truth value and YAML 1.2 for text: yes, on and such, without quotes.
    truths: dict[KeyPath, bool] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    broken: bool = False

    def report(self, path: KeyPath, problem: str, *, at_key: bool = False) -> None:
        """Add an error of the value at ``path``, or of its key."""
        self.report_at(self.key_position(path) if at_key else self._value_position(path), path, problem)

    def report_at(self, position: Position, path: KeyPath, problem: str) -> None:
        """Add an error at a position that has no path of its own."""
        self.diagnostics.append(Diagnostic(self.name, position.line, position.column, format_path(path), problem))

    def key_position(self, path: KeyPath) -> Position:
        """Return the position of the key at ``path``; for an item of a list, that of the item."""
        return self.keys.get(path) or self._value_position(path)

    def at(self, path: KeyPath) -> Any:
        """Return the value at ``path``."""
        value = self.value
        for step in path:
            value = value[step]
        return value

    def _value_position(self, path: KeyPath) -> Position:
        """Return the position of the value at ``path``; of a key that is missing, that of its mapping."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Position(0, 0))


def is_repeated_rule(path: KeyPath, key: str, first: object, second: object) -> bool:
    """Return whether a key of the mapping at ``path`` that is given twice is a rule that stands there twice alike.

    image-syncer takes it once. A rule's value is text or a list, and its mapping is that of ``images`` or the file.
    """
    return path in ((), ("images",)) and key != "images" and isinstance(first, (str, list)) and first == second


# A user name and a password in an address that was written as a key.
_USER = re.compile(r"(?<=//)[^/\s]*@|(?<=^auth\.)[^/\s]*@")


def format_path(path: KeyPath) -> str:
    """Return a path as text, such as ``images[2].from``; a password in it is left out."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f"{'.' if text else ''}{step}"
    return _USER.sub("…@", text)


def type_name(value: object) -> str:
    """Return the kind of a value in plain words, never its content."""
    if value is None:
        return "nothing"
    for of, words in ((bool, "true or false"), (Number, "a number"), (str, "text"), (list, "a list")):
        if isinstance(value, of):
            return words
    return "a mapping"
