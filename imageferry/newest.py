"""The newest of some versions or tags."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from imageferry.text import format_count
from imageferry.versions import Version, parse_version

_Level = Callable[[Version], Any]


@dataclass(frozen=True, slots=True)
class NewestVersions:
    """How many versions of each variant's family are wanted: in all, and by level; None is no bound.

    So many ``majors``, of each of these so many ``minors``, of each of these so many ``patches``. Tags of one version
    (``1.2`` and ``v1.2.0``, ``1.2-alpine3.20`` and ``1.2-alpine3.21``) count as one, and all of them are taken.
    """

    versions: int | None = None
    majors: int | None = None
    minors: int | None = None
    patches: int | None = None

    def __str__(self) -> str:
        levels = (
            ("major", "majors", self.majors),
            ("minor", "minors", self.minors),
            ("patch", "patches", self.patches),
        )
        named = [format_count(count, one, more) for one, more, count in levels if count is not None]
        return " and ".join(named) if self.versions is None else f"{self.versions:,}"

    def as_written(self) -> int | dict[str, Any]:
        """Return what a rule says for it."""
        levels = {"majors": self.majors, "minors": self.minors, "patches": self.patches}
        named = {level: count for level, count in levels.items() if count is not None}
        return named if self.versions is None else self.versions

    def select(self, versions: Iterable[Version]) -> set[str]:
        """Return the tags of the newest versions."""
        families: dict[str, list[Version]] = defaultdict(list)
        for version in versions:
            families[version.family].append(version)
        return {version.tag for family in families.values() for version in self._select(family)}

    def _select(self, versions: list[Version]) -> list[Version]:
        versions = _keep_newest(versions, self.majors, _everything, _major)
        versions = _keep_newest(versions, self.minors, _major, _minor)
        versions = _keep_newest(versions, self.patches, _minor, _without_variant)
        return _keep_newest(versions, self.versions, _everything, _without_variant)


@dataclass(frozen=True, slots=True)
class NewestTags:
    """So many tags, by ``date``, or of each variant's family by ``version``."""

    tags: int
    by: Literal["version", "date"] = "version"

    def __str__(self) -> str:
        return f"{format_count(self.tags, 'tag')}{' by date' if self.by == 'date' else ''}"

    def as_written(self) -> int | dict[str, Any]:
        """Return what a rule says for it."""
        return {"tags": self.tags} | ({"by": "date"} if self.by == "date" else {})

    def select(self, tags: Iterable[str], dates: Mapping[str, datetime]) -> set[str]:
        """Return the newest tags. Those without a date are all taken: nothing is dropped that cannot be judged."""
        if self.by == "date":
            dated = {tag: dates.get(tag) for tag in tags}
            undated = {tag for tag, date in dated.items() if date is None}
            ordered = heapq.nlargest(self.tags, dated.keys() - undated, key=lambda tag: (dates[tag], tag))
            return undated.union(ordered)
        families: dict[str, list[Version]] = defaultdict(list)
        for version in filter(None, map(parse_version, tags)):
            families[version.family].append(version)
        return {version.tag for family in families.values() for version in heapq.nlargest(self.tags, family)}


def _keep_newest(versions: list[Version], count: int | None, group: _Level, level: _Level) -> list[Version]:
    """Return the versions that are in the ``count`` highest levels of their group."""
    if count is None:
        return versions
    levels: dict[Any, set[Any]] = defaultdict(set)
    for version in versions:
        levels[group(version)].add(level(version))
    kept = {key: set(heapq.nlargest(count, found)) for key, found in levels.items()}
    return [version for version in versions if level(version) in kept[group(version)]]


def _everything(_: Version) -> tuple[()]:
    return ()


def _major(version: Version) -> int:
    return version.release[0]


def _minor(version: Version) -> tuple[int, int]:
    return version.release[:2]


def _without_variant(version: Version) -> tuple[Any, ...]:
    return version.release, version.stage


def parse_date(text: str) -> datetime | None:
    """Return an RFC 3339 date in UTC; None where it is none, or before 2000, as reproducible builds write."""
    try:
        date = datetime.fromisoformat(text[:64])
        date = date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return date if date.year >= 2000 else None
