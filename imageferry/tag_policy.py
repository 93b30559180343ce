"""Which of a repository's tags a rule copies, in stages, each of which says what it took away."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from imageferry.errors import ImageferryError
from imageferry.newest import NewestTags, NewestVersions
from imageferry.patterns import Patterns
from imageferry.text import format_count
from imageferry.version_range import VersionRange
from imageferry.versions import Version, parse_version

# Signatures, attestations and fallback indexes are named after the digest of what they belong to (cosign; distribution
# specification, "referrers tag schema").
_DIGEST_TAG = re.compile(r"sha256-[0-9a-f]{64}(\..*)?|sha512-[0-9a-f]{128}(\..*)?", re.DOTALL)

# Tags that a line names of those that a stage took away.
TAGS_NAMED = 3

# Stages that are called otherwise than their keys, in the line that counts what each left.
_STAGES = {"digest_tags": "digest tags", "no_version": "no version", "prereleases": "no pre-releases"}

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

    def may_take(self, tag: str) -> bool:
        """Return whether a tag can be selected: by its name, whichever others there are and however old it is."""
        return bool(self.begin((tag,)).add_always())

    def takes(self, tag: str) -> bool:
        """Return whether a tag is certain to be selected where it is there."""
        is_settled = self.newest is None and self.max_age is None
        return (is_settled or tag in self.always) and self.may_take(tag)

    def as_written(self) -> dict[str, Any] | list[str]:
        """Return what a rule says for this policy, as plain values: a list where there is only what to include."""
        include, exclude, variants = (
            [pattern.text for pattern in each.patterns] if each is not None else None
            for each in (self.include, self.exclude, self.variants)
        )
        found = {
            "include": include,
            "exclude": exclude,
            "versions": self.versions and self.versions.text,
            "prereleases": self.prereleases,
            "variants": variants,
            "numbers": self.numbers and f"{self.numbers[0]}-{self.numbers[1]}",
            "newest": self.newest and self.newest.as_written(),
            "max_age": self.max_age and _format_age(self.max_age),
            "always": sorted(self.always) or None,
            "at_least": self.at_least or None,
        }
        said = {key: value for key, value in found.items() if value is not None}
        return include if include is not None and len(said) == 1 else said

    def begin(self, tags: Iterable[str]) -> TagSelection:
        """Return the selection after all stages that need no dates: what is left may be dated, then finished."""
        selection = TagSelection(self, tuple(dict.fromkeys(tags)))
        if self.include is not None:
            selection.keep("include", self.include.matches)
        selection.keep("digest_tags", lambda tag: _DIGEST_TAG.fullmatch(tag) is None)
        if self.exclude is not None:
            exclude = self.exclude
            selection.keep("exclude", lambda tag: not exclude.matches(tag))
        if self.judges_versions:
            selection.keep_versions()
        elif self.prereleases is False:
            selection.keep("prereleases", _is_no_prerelease)
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
    # How many families of variants the newest were looked for in.
    families: int = 0
    # What only ``always`` has selected.
    rescued: set[str] = field(default_factory=set)

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
        self.keep("no_version", versions.__contains__)
        if policy.variants is not None:
            variants = policy.variants
            self.keep("variants", lambda tag: variants.matches(versions[tag].variant))
        fewest, most = policy.numbers or DEFAULT_NUMBERS
        self.keep("numbers", lambda tag: fewest <= len(versions[tag].numbers) <= most)
        if policy.versions is not None:
            wanted = policy.versions
            self.keep("versions", lambda tag: wanted.contains(versions[tag], prereleases=True))
        self.keep("prereleases", lambda tag: self._takes_prerelease(versions[tag]))

    def _takes_prerelease(self, version: Version) -> bool:
        policy = self.policy
        if version.prerelease is None or policy.prereleases:
            return True
        if policy.versions is not None:
            return policy.versions.contains(version)
        # With variants or numbers alone, a pre-release is a version like others.
        return policy.newest is None and policy.prereleases is None

    @property
    def needs_dates(self) -> bool:
        """Whether it depends on dates which of the tags that are left so far are selected."""
        newest = self.policy.newest
        if self.policy.max_age is not None:
            return bool(self.selected)
        return self.policy.needs_dates and isinstance(newest, NewestTags) and len(self.selected) > newest.tags

    def finish(self, dates: Mapping[str, datetime], now: datetime) -> list[str]:
        """Return the tags that are selected, in the order in which they were listed. Raises ``TooFewTags``.

        ``dates`` are when tags were pushed or made; tags without one are taken, and counted.
        """
        policy = self.policy
        if self.needs_dates:
            self.undated = sum(tag not in dates for tag in self.selected)
        if policy.max_age is not None:
            # Compared as ages: a date of so long ago need not exist.
            most = policy.max_age
            self.keep("max_age", lambda tag: tag not in dates or now - dates[tag] <= most)
        if policy.newest is not None:
            self.keep("newest", self._newest(policy.newest, dates).__contains__)
        self.add_always()
        if len(self.selected) < policy.at_least:
            raise TooFewTags(f"{self.describe()}: at least {policy.at_least:,} are wanted (at_least)")
        return self.selected

    def _newest(self, newest: NewestVersions | NewestTags, dates: Mapping[str, datetime]) -> set[str]:
        if isinstance(newest, NewestTags) and newest.by == "date":
            return newest.select(self.selected, dates)
        versions = [version for tag in self.selected if (version := parse_version(tag)) is not None]
        self.families = len({version.family for version in versions})
        return newest.select(self.selected, dates) if isinstance(newest, NewestTags) else newest.select(versions)

    def add_always(self) -> list[str]:
        """Take what is always wanted, and return what is selected; what is excluded stays out."""
        policy = self.policy
        selected = set(self.selected)
        excluded = policy.exclude.matches if policy.exclude is not None else lambda _: False
        wanted = (tag for tag in self.listed if tag in policy.always and tag not in selected)
        self.rescued = {tag for tag in wanted if not excluded(tag)}
        if self.rescued:
            self.selected = [tag for tag in self.listed if tag in selected or tag in self.rescued]
        return self.selected

    def left_out(self) -> dict[str, list[str]]:
        """Return the tags that are not selected, by the stage that took them away."""
        found = {stage: [tag for tag in tags if tag not in self.rescued] for stage, tags in self.dropped.items()}
        return {stage: tags for stage, tags in found.items() if tags}

    def describe(self) -> str:
        """Return a line: how many tags were listed, how many each stage left, and how many are selected."""
        stages = ", ".join(self._describe_stage(stage, left) for stage, left in self.stages)
        always = f", + always {len(self.rescued):,}" if self.rescued else ""
        middle = f"; {stages}" if stages else ""
        undated = f" ({self.undated:,} without a date)" if self.undated else ""
        selected = len(self.selected) - len(self.rescued)
        return f"{format_count(len(self.listed), 'tag')}{middle}: {selected:,} selected{always}{undated}"

    def _describe_stage(self, stage: str, left: int) -> str:
        if stage == "newest":
            families = f" of {self.families:,} variants" if self.families > 1 else ""
            return f"newest {self.policy.newest}{families}"
        return f"{_STAGES.get(stage, stage)} {left:,}"

    def explain(self) -> str:
        """Return a line that names some of the tags that a person may not expect to be left out; "" for none."""
        left_out = self.left_out()
        fewest, most = self.policy.numbers or DEFAULT_NUMBERS
        numbers = "with one number" if (fewest, most) == DEFAULT_NUMBERS else f"without {fewest}-{most} numbers"
        parts = {
            "no_version": ("as no version", ""),
            "numbers": (numbers, ', see "numbers"'),
            "digest_tags": ("as digest tags", ""),
        }
        named = [
            f"{words}: {len(left_out[stage]):,} ({_name_some(left_out[stage])}){advice}"
            for stage, (words, advice) in parts.items()
            if stage in left_out
        ]
        return f"dropped {'; '.join(named)}" if named else ""


def _name_some(tags: list[str]) -> str:
    return ", ".join(tags[:TAGS_NAMED]) + (", …" if len(tags) > TAGS_NAMED else "")


def _format_age(age: timedelta) -> str:
    hours = age // timedelta(hours=1)
    if hours % 24:
        return f"{hours}h"
    return f"{age.days}d" if age.days < 1_000_000 else f"{age.days // 7}w"


def _is_no_prerelease(tag: str) -> bool:
    version = parse_version(tag)
    return version is None or version.prerelease is None
