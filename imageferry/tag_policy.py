"""Which of a repository's tags a rule copies, in stages, each of which says what it took away."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from imageferry.errors import ImageferryError
from imageferry.newest import NewestTags, NewestVersions
from imageferry.patterns import Patterns
from imageferry.version_range import VersionRange
from imageferry.versions import Version, parse_version

# Signatures, attestations and fallback indexes are named after the digest of what they belong to (cosign; distribution
# specification, "referrers tag schema").
_DIGEST_TAG = re.compile(r"sha256-[0-9a-f]{64}(\..*)?|sha512-[0-9a-f]{128}(\..*)?", re.DOTALL)

# How many numbers a tag's version has unless a rule says otherwise: 20240115 or a hash of digits is no version.
DEFAULT_NUMBERS = (2, 4)


class TooFewTags(ImageferryError):
    """A policy leaves fewer tags than a rule wants at least."""


@dataclass(frozen=True, slots=True)
class TagPolicy:
    """What a rule says about tags; None is nothing. ``numbers`` are the fewest and the most of a version."""

    include: Patterns | None = None
    exclude: Patterns | None = None
    versions: VersionRange | None = None
    prereleases: bool | None = None
    variants: Patterns | None = None
    numbers: tuple[int, int] | None = None
    newest: NewestVersions | NewestTags | None = None
    max_age: timedelta | None = None
    always: frozenset[str] = frozenset()
    at_least: int = 0

    @property
    def judges_versions(self) -> bool:
        """Whether a tag has to name a version."""
        by_version = isinstance(self.newest, NewestVersions) or (
            self.newest is not None and self.newest.by == "version"
        )
        others = (self.versions, self.variants, self.numbers)
        return by_version or any(each is not None for each in others)

    @property
    def needs_dates(self) -> bool:
        """Whether it has to be known when tags were pushed or made."""
        return self.max_age is not None or (isinstance(self.newest, NewestTags) and self.newest.by == "date")

    def begin(self, tags: Iterable[str]) -> TagSelection:
        """Return the selection after all stages that need no dates: what is left may be dated, then finished."""
        selection = TagSelection(self, tuple(dict.fromkeys(tags)))
        if self.include is not None:
            selection.keep("include", self.include.matches)
        selection.keep("digest tags", lambda tag: _DIGEST_TAG.fullmatch(tag) is None)
        if self.exclude is not None:
            exclude = self.exclude
            selection.keep("exclude", lambda tag: not exclude.matches(tag))
        if self.judges_versions:
            selection.keep_versions()
        elif self.prereleases is False:
            selection.keep("pre-releases", _is_no_prerelease)
        return selection


@dataclass(slots=True)
class TagSelection:
    """The tags of one repository that are left of those that were ``listed``; ``dropped`` has what each stage took."""

    policy: TagPolicy
    listed: tuple[str, ...]
    selected: list[str] = field(init=False)
    dropped: dict[str, list[str]] = field(default_factory=dict)
    # How many were left after each stage that took some away.
    stages: list[tuple[str, int]] = field(default_factory=list)
    undated: int = 0
    rescued: int = 0

    def __post_init__(self) -> None:
        self.selected = list(self.listed)

    def keep(self, stage: str, wanted: Callable[[str], bool]) -> None:
        """Leave the tags that are wanted."""
        left: list[str] = []
        taken: list[str] = []
        for tag in self.selected:
            (left if wanted(tag) else taken).append(tag)
        if taken:
            self.dropped[stage] = taken
            self.stages.append((stage, len(left)))
        self.selected = left

    def keep_versions(self) -> None:
        """Leave the tags whose versions are wanted."""
        policy = self.policy
        versions = {tag: version for tag in self.selected if (version := parse_version(tag)) is not None}
        self.keep("no version", versions.__contains__)
        if policy.variants is not None:
            variants = policy.variants
            self.keep("variants", lambda tag: variants.matches(versions[tag].variant))
        fewest, most = policy.numbers or DEFAULT_NUMBERS
        self.keep("numbers", lambda tag: fewest <= len(versions[tag].numbers) <= most)
        if policy.versions is not None:
            wanted = policy.versions
            self.keep("versions", lambda tag: wanted.contains(versions[tag], prereleases=True))
        self.keep("pre-releases", lambda tag: self._takes_prerelease(versions[tag]))

    def _takes_prerelease(self, version: Version) -> bool:
        policy = self.policy
        if version.prerelease is None or policy.prereleases:
            return True
        if policy.versions is not None:
            return policy.versions.contains(version)
        # With variants or numbers alone, a pre-release is a version like others.
        return policy.newest is None and policy.prereleases is None

    def finish(self, dates: Mapping[str, datetime], now: datetime) -> list[str]:
        """Return the tags that are selected, in the order in which they were listed. Raises ``TooFewTags``.

        ``dates`` are when tags were pushed or made; tags without one are taken, and counted.
        """
        policy = self.policy
        if policy.needs_dates:
            self.undated = sum(tag not in dates for tag in self.selected)
        if policy.max_age is not None:
            oldest = now - policy.max_age
            self.keep("max_age", lambda tag: tag not in dates or dates[tag] >= oldest)
        if policy.newest is not None:
            self.keep("newest", self._newest(policy.newest, dates).__contains__)
        self._add_always()
        if len(self.selected) < policy.at_least:
            raise TooFewTags(f"{self.describe()}: at least {policy.at_least:,} are wanted (at_least)")
        return self.selected

    def _newest(self, newest: NewestVersions | NewestTags, dates: Mapping[str, datetime]) -> set[str]:
        if isinstance(newest, NewestTags):
            return newest.select(self.selected, dates)
        return newest.select(version for tag in self.selected if (version := parse_version(tag)) is not None)

    def _add_always(self) -> None:
        """Take what is always wanted; what is excluded stays out."""
        policy = self.policy
        selected = set(self.selected)
        excluded = policy.exclude.matches if policy.exclude is not None else lambda _: False
        rescued = {tag for tag in self.listed if tag in policy.always and tag not in selected and not excluded(tag)}
        self.rescued = len(rescued)
        if rescued:
            self.selected = [tag for tag in self.listed if tag in selected or tag in rescued]

    def describe(self) -> str:
        """Return a line: how many tags were listed, how many each stage left, and how many are selected."""
        stages = ", ".join(f"{stage} {left:,}" for stage, left in self.stages)
        always = f", + always {self.rescued:,}" if self.rescued else ""
        noun = "tag" if len(self.listed) == 1 else "tags"
        middle = f"; {stages}" if stages else ""
        undated = f" ({self.undated:,} without a date)" if self.undated else ""
        return f"{len(self.listed):,} {noun}{middle}: {len(self.selected):,} selected{always}{undated}"


def _is_no_prerelease(tag: str) -> bool:
    version = parse_version(tag)
    return version is None or version.prerelease is None
