"""Figures and foreign text, as people read them."""

from __future__ import annotations

import reprlib
import unicodedata

#: Categories of Unicode that are no text: control, format (direction, invisible), halves of a pair, not assigned.
_NO_TEXT = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

#: How foreign values are quoted: long and deep ones are cut.
_QUOTING = reprlib.Repr()
_QUOTING.maxstring = _QUOTING.maxother = _QUOTING.maxlong = 200
_QUOTING.maxlevel = 2


def escape_control(text: str) -> str:
    """Give the text with control and direction characters escaped: a registry must not write to the terminal.

    Halves of a surrogate pair are escaped too: they fit into no file and no database.
    """
    if text.isprintable():
        return text
    return "".join(_escape(each) if unicodedata.category(each) in _NO_TEXT else each for each in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def shorten_repr(value: object) -> str:
    """Give a foreign value in quotes as Python writes it, with ``...`` in place of what is long or deep."""
    return _QUOTING.repr(value)


def format_size(count: float) -> str:
    """Give a number of bytes as ``132 MB`` (powers of 1000, as docker and registries show them)."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 999.5 and len(units) > 1:
        count /= 1000
        units.pop(0)
    unit = units[0]
    return f"{count:.1f} {unit}" if unit != "B" and count < 9.95 else f"{count:.0f} {unit}"


def format_duration(seconds: float) -> str:
    """Give seconds as ``0.4 s``, ``41 s``, ``3 min 5 s`` or ``2 h 7 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def format_count(number: int, noun: str, plural: str = "") -> str:
    """Give ``1 image``, ``2 images``, ``1,200 images``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def short_digest(digest: str) -> str:
    """Give the first twelve hexadecimal digits of a digest, as docker shows them."""
    return digest.partition(":")[2][:12]
