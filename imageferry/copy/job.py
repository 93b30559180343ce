"""One image to copy, and what is left to do of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from imageferry.reference import Reference
from imageferry.selection import PlatformFilter


@dataclass(slots=True)
class CopyJob:
    """One image to copy for ``rule``: its source, and the destinations that lack it.

    ``finished`` are the destinations whose outcome is known, ``found`` has the digest that the plan found at each that
    has something under this name. ``withheld`` are those of the rule that it must not be copied to, since another rule
    writes there.
    """

    source: Reference
    destinations: tuple[Reference, ...]
    platforms: PlatformFilter
    finished: set[Reference] = field(default_factory=set)
    found: dict[Reference, str] = field(default_factory=dict)
    rule: str = ""
    withheld: tuple[Reference, ...] = ()

    @property
    def name(self) -> str:
        """The source as it is reported."""
        return str(self.source)

    @property
    def tag_or_digest(self) -> str:
        """The source within its rule: its tag, or its digest where it has no tag."""
        return self.source.tag or self.source.target

    @property
    def is_finished(self) -> bool:
        """Whether the outcome is known at every destination, copied or failed."""
        return self.finished.issuperset(self.destinations)
