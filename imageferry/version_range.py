"""Ranges of versions: ``>=1.2 <2 || ~3.4``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from imageferry.errors import ImageferryError
from imageferry.versions import Version, parse_version

_Release = tuple[int, int, int, int]

# A part of a range: an operator, and what follows it up to the next space or comma.
_COMPARATOR = re.compile(r"(?P<operator>[<>=!~^]*)\s*(?P<operand>[^\s,<>=!~^]*)")
_WILDCARD = re.compile(r"[vV]?(?P<numbers>[0-9]{1,18}(?:\.[0-9]{1,18}){0,2})?(?:\.?[xX*])+")
_OPERATORS = ("", "=", "==", "!=", ">", ">=", "<", "<=", "~", "^")


class RangeError(ImageferryError, ValueError):
    """A text is not a range of versions."""


@dataclass(frozen=True, slots=True)
class _Comparator:
    """One condition; ``bound`` is the version that it names, if it names a pre-release."""

    holds: Callable[[Version], bool]
    bound: Version | None = None

    def names_prerelease_of(self, version: Version) -> bool:
        """Return whether this is about the pre-releases of that version's numbers."""
        return self.bound is not None and self.bound.release == version.release


@dataclass(frozen=True, slots=True)
class VersionRange:
    """The versions for which every comparator of one of the alternatives holds."""

    text: str
    alternatives: tuple[tuple[_Comparator, ...], ...] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> VersionRange:
        """Parse a range: comparators (``= != > >= < <= ~ ^``, ``1.2.x``) joined by space or comma, and by ``||``.

        Numbers that are missing are 0: ``=1.2`` takes ``1.2`` and ``1.2.0``, in every variant. Raises ``RangeError``.
        """
        return cls(text, tuple(_parse_alternative(text, part) for part in text.split("||")))

    def contains(self, version: Version, *, prereleases: bool = False) -> bool:
        """Return whether a version is in the range.

        A pre-release is only with ``prereleases``, or where a comparator names a pre-release of the same numbers (as
        npm has it); it is never below the release of its numbers: ``<4.0`` takes no ``4.0-rc1``.
        """
        for comparators in self.alternatives:
            taken = (
                prereleases
                or version.prerelease is None
                or any(each.names_prerelease_of(version) for each in comparators)
            )
            if taken and all(each.holds(version) for each in comparators):
                return True
        return False


def _parse_alternative(text: str, part: str) -> tuple[_Comparator, ...]:
    comparators = []
    rest = part.strip(" \t,")
    while rest:
        found = _COMPARATOR.match(rest)
        if found is None or not found[0]:
            raise RangeError(f"{text!r} is not a range: {rest!r} cannot be read")
        comparators.append(_parse_comparator(text, found["operator"], found["operand"], rest[found.end() :]))
        rest = rest[found.end() :].lstrip(" \t,")
    if not comparators:
        problem = "there is nothing on one side of '||'" if "||" in text else "expected a version, as in '>=1.2 <2'"
        raise RangeError(f"{text!r} is not a range: {problem}")
    return tuple(comparators)


def _parse_comparator(text: str, operator: str, operand: str, rest: str) -> _Comparator:
    if operator not in _OPERATORS:
        raise RangeError(f"{text!r} is not a range: there is no operator {operator!r}, but {', '.join(_OPERATORS[1:])}")
    if not operand:
        where = f"'{operator}' stands before no version" if rest.strip(" \t,") else f"ends after '{operator}'"
        raise RangeError(f"{text!r} is not a range: {where}")
    if wildcard := _WILDCARD.fullmatch(operand):
        return _compare_wildcard(operator, wildcard["numbers"])
    version = parse_version(operand)
    if version is None or version.variant:
        problem = "a tag by name belongs into include or always" if version is None else "variants stand in variants"
        raise RangeError(f"{operand!r} is not a version; {problem}")
    return _compare(operator, version)


def _compare(operator: str, bound: Version) -> _Comparator:
    named = bound if bound.prerelease else None
    if operator in ("~", "^"):
        above, below = _is_at_least(bound), _upper_bound(operator, bound)
        return _Comparator(lambda version: above(version) and version.release < below, named)
    tests: dict[str, Callable[[Version], bool]] = {
        ">": lambda version: _order(version) > _order(bound),
        ">=": _is_at_least(bound),
        "<": _is_below(bound),
        "<=": lambda version: _order(version) <= _order(bound),
        "!=": lambda version: _order(version) != _order(bound),
    }
    return _Comparator(tests.get(operator, lambda version: _order(version) == _order(bound)), named)


def _order(version: Version) -> tuple[_Release, tuple[int, tuple[int, ...]]]:
    """Return where a version stands, whatever its variant."""
    return version.release, version.stage


def _is_at_least(bound: Version) -> Callable[[Version], bool]:
    return lambda version: _order(version) >= _order(bound)


def _is_below(bound: Version) -> Callable[[Version], bool]:
    """Who wants less than 4.0 does not want 4.0-rc1."""
    if bound.prerelease:
        return lambda version: _order(version) < _order(bound)
    return lambda version: version.release < bound.release


def _upper_bound(operator: str, bound: Version) -> _Release:
    """Return the first release beyond: of ``~`` the next minor, of ``^`` the next of the first number that is not 0."""
    numbers = bound.numbers
    if operator == "~":
        place = min(len(numbers), 2) - 1
    else:
        place = next((place for place, number in enumerate(numbers) if number), len(numbers) - 1)
    return _next_release(numbers[: place + 1])


def _next_release(numbers: tuple[int, ...]) -> _Release:
    major, minor, patch, build = (*numbers[:-1], numbers[-1] + 1, 0, 0, 0)[:4]
    return major, minor, patch, build


def _compare_wildcard(operator: str, text: str | None) -> _Comparator:
    """Compare with all versions that begin with these numbers; without numbers, with all there are."""
    if text is None:
        everything = operator not in ("!=", "<", ">")
        return _Comparator(lambda _: everything)
    numbers = tuple(int(part) for part in text.split("."))
    major, minor, patch, build = (*numbers, 0, 0, 0)[:4]
    first, beyond = (major, minor, patch, build), _next_release(numbers)
    if operator == "^":
        beyond = _upper_bound("^", Version(text, numbers))
    tests: dict[str, Callable[[Version], bool]] = {
        ">": lambda version: version.release >= beyond,
        ">=": lambda version: version.release >= first,
        "<": lambda version: version.release < first,
        "<=": lambda version: version.release < beyond,
        "!=": lambda version: not first <= version.release < beyond,
    }
    return _Comparator(tests.get(operator, lambda version: first <= version.release < beyond))
