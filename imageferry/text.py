"""Numbers, errors and untrusted text, formatted for people."""

from __future__ import annotations

import reprlib
import unicodedata

# Unicode categories that must not be printed: control, format (direction, invisible), surrogates, unassigned.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

# How untrusted values are quoted: long and deep ones are cut.
_QUOTING = reprlib.Repr()
_QUOTING.maxstring = _QUOTING.maxother = _QUOTING.maxlong = 200
_QUOTING.maxlevel = 2


def escape_control(text: str) -> str:
    """Return the text with control and direction characters escaped: a registry must not control the terminal.

    Lone surrogates are escaped too: they cannot be encoded, so no file and no database takes them.
    """
    if text.isprintable():
        return text
    return "".join(_escape(each) if unicodedata.category(each) in _UNPRINTABLE else each for each in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def shorten_repr(value: object) -> str:
    """Return the ``repr`` of an untrusted value, with ``...`` in place of long and deeply nested parts."""
    return _QUOTING.repr(value)


def describe_exception(error: BaseException) -> str:
    """Return the message of an exception, or the name of its class if it has none."""
    return str(error) or type(error).__name__


def format_size(count: float) -> str:
    """Return a number of bytes as ``132 MB`` (powers of 1000, as docker and registries show them)."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 999.5 and len(units) > 1:
        count /= 1000
        units.pop(0)
    unit = units[0]
    return f"{count:.1f} {unit}" if unit != "B" and count < 9.95 else f"{count:.0f} {unit}"


def format_duration(seconds: float) -> str:
    """Return seconds as ``0.4 s``, ``41 s``, ``3 min 5 s`` or ``2 h 7 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def format_count(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 image``, ``2 images``, ``1,200 images``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def short_digest(digest: str) -> str:
    """Return the first twelve hexadecimal digits of a digest, as docker shows them."""
    return digest.partition(":")[2][:12]
