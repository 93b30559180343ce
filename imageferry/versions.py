"""The version that a tag names: its numbers, its pre-release, and its variant.

Libraries for semantic versions take every ``-alpine`` for a pre-release; registries are full of variants.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field

# In the order in which they come out; words of one rank are the same pre-release.
_PRERELEASES = (
    ("dev", "snapshot", "nightly", "canary", "test"),
    ("alpha", "a"),
    ("beta", "b", "ea"),
    ("milestone", "m"),
    ("rc", "cr", "pre", "preview"),
)
_RANKS = {word: rank for rank, words in enumerate(_PRERELEASES) for word in words}
# Longer words first: "preview" is not "pre" and something else.
_WORDS = "|".join(sorted(_RANKS, key=len, reverse=True))

# At most 18 digits a number: what is longer is a hash or a time, and no integer to compare.
_NUMBER = r"[0-9]{1,18}"
_TAG = re.compile(
    rf"""
    [vV]?
    (?P<numbers>{_NUMBER}(?:\.{_NUMBER}){{0,3}})
    (?:
        [-.]?(?P<word>(?i:{_WORDS}))(?![A-Za-z])
        (?:[-._]?(?P<counts>[0-9]+(?:\.[0-9]+)*))?
        (?P<after>[-_+.].*)?
      | (?P<rest>[-_+].*)?
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_DIGITS = re.compile(r"[0-9]+")

# A tag is at most 128 characters long (distribution specification, "pulling manifests").
_LONGEST = 128


@dataclass(frozen=True, slots=True)
class Prerelease:
    """What comes out before a release: its ``rank`` among the words (an alpha's is below a beta's) and its numbers."""

    rank: int
    numbers: tuple[int, ...] = ()


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """A tag as a version. ``numbers`` are one to four; ``variant`` is what follows them, "" for the plain one.

    Versions are ordered by their numbers, of which missing ones are 0, then pre-releases before the release, then by
    variant, in which numbers count as numbers, then by the text of the tag.
    """

    tag: str
    numbers: tuple[int, ...]
    prerelease: Prerelease | None = None
    variant: str = ""
    _key: tuple[object, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_key", (self.release, self.stage, _natural(self.variant), self.tag))

    @property
    def release(self) -> tuple[int, int, int, int]:
        """The four numbers."""
        major, minor, patch, build = (*self.numbers, 0, 0, 0)[:4]
        return major, minor, patch, build

    @property
    def stage(self) -> tuple[int, tuple[int, ...]]:
        """Where it stands among the pre-releases of its numbers; the release itself comes last."""
        if self.prerelease is None:
            return len(_PRERELEASES), ()
        return self.prerelease.rank, self.prerelease.numbers

    @property
    def family(self) -> str:
        """The variant without its numbers: ``alpine3.20`` and ``alpine3.21`` are of one family."""
        return _DIGITS.sub("#", self.variant)

    def __lt__(self, other: Version) -> bool:
        return self._key < other._key


def parse_version(tag: str) -> Version | None:
    """Return the version that a tag names; None where it names none, as ``latest`` does. Linear in the tag's length."""
    found = _TAG.fullmatch(tag) if len(tag) <= _LONGEST else None
    if found is None:
        return None
    numbers = _numbers(found["numbers"])
    if found["word"] is None:
        return Version(tag, numbers, variant=(found["rest"] or "")[1:])
    prerelease = Prerelease(_RANKS[found["word"].lower()], _numbers(found["counts"] or ""))
    return Version(tag, numbers, prerelease, (found["after"] or "")[1:])


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part)


def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a text's order in which numbers count as numbers: r2 before r10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return tuple((0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts)
