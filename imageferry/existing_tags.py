"""What a rule does with a tag that is at the destination already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from imageferry.patterns import Patterns


class Existing(StrEnum):
    """What becomes of a tag that is there: it follows the source, it stays, or other content is a failure."""

    UPDATE = "update"
    KEEP = "keep"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class ExistingTags:
    """The keys ``existing`` and ``immutable`` of a rule. A tag that ``immutable`` matches stays, whatever ``existing``.

    Names are tags at the destination; None is a digest, of which there is no other content.
    """

    existing: Existing = Existing.UPDATE
    immutable: Patterns = field(default_factory=lambda: Patterns(()))

    @property
    def keeps_some(self) -> bool:
        """Whether there may be tags that stay as they are."""
        return self.existing is Existing.KEEP or bool(self.immutable.patterns)

    def keeps(self, tag: str | None) -> bool:
        """Return whether this tag stays as it is once it is there."""
        return tag is not None and (self.existing is Existing.KEEP or self.immutable.matches(tag))

    def refuses_other_content(self, tag: str | None) -> bool:
        """Return whether other content under this tag is a failure."""
        return tag is not None and self.existing is Existing.FAIL and not self.immutable.matches(tag)

    def guards(self, tag: str | None) -> bool:
        """Return whether this tag must not be overwritten with other content."""
        return self.keeps(tag) or self.refuses_other_content(tag)

    def as_written(self) -> Mapping[str, str | tuple[str, ...]]:
        """Return the keys as a configuration has them; those with their defaults are left out."""
        found: dict[str, str | tuple[str, ...]] = {}
        if self.existing is not Existing.UPDATE:
            found["existing"] = self.existing.value
        if self.immutable.patterns:
            found["immutable"] = tuple(pattern.text for pattern in self.immutable.patterns)
        return found
