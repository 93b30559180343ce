"""Which rules follow which: a rule that reads a tag that another one writes comes after it."""

from __future__ import annotations

import graphlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from imageferry.model import Destination, Rule, Source
from imageferry.selection import TagPattern
from imageferry.tag_policy import TagPolicy

# Circles of a file that are reported; further ones are found once these are mended.
CIRCLES_REPORTED = 20


class Overlap(IntEnum):
    """Whether what one rule writes into a repository is what another reads there."""

    NONE = 0
    # Only the tags that are there can tell, or the content is the same whoever brings it (a digest).
    POSSIBLE = 1
    CERTAIN = 2


@dataclass(frozen=True, slots=True)
class TagSet:
    """Tags and digests of one repository: some by name, those of a pattern or policy, or (``everything``) all tags."""

    tags: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()
    pattern: TagPattern | None = None
    policy: TagPolicy | None = None
    everything: bool = False

    @property
    def is_named(self) -> bool:
        """Whether all that is in it is named."""
        return self.pattern is None and self.policy is None and not self.everything


def tags_read(source: Source) -> TagSet:
    """Return what a rule reads from its source's repository."""
    if not source.items:
        return _listed_tags(source)
    return TagSet(
        frozenset(item.tag for item in source.items if item.tag and not item.digest),
        frozenset(item.digest for item in source.items if item.digest),
    )


def tags_written(source: Source, destination: Destination) -> TagSet:
    """Return what a rule writes into a destination's repository."""
    targets = destination.targets or tuple(item.tag or item.target for item in source.items)
    if not targets:
        return _listed_tags(source)
    return TagSet(
        frozenset(target for target in targets if ":" not in target),
        frozenset(target for target in targets if ":" in target),
    )


def _listed_tags(source: Source) -> TagSet:
    everything = source.pattern is None and source.policy is None
    return TagSet(pattern=source.pattern, policy=source.policy, everything=everything)


def overlap(written: TagSet, read: TagSet) -> Overlap:
    """Return whether what is written into a repository is what is read there."""
    if _share_tags(written, read) is Overlap.CERTAIN:
        return Overlap.CERTAIN
    # Whatever is written may bring the content of a digest; and nothing that is read by its digest ever changes.
    return Overlap.POSSIBLE if read.digests else _share_tags(written, read)


def _share_tags(one: TagSet, other: TagSet) -> Overlap:
    if not (_has_tags(one) and _has_tags(other)):
        return Overlap.NONE
    if one.everything or other.everything or not one.tags.isdisjoint(other.tags):
        return Overlap.CERTAIN
    if one.policy or other.policy:
        return _share_with_policy(one, other) if one.policy else _share_with_policy(other, one)
    if one.pattern and other.pattern:
        return Overlap.CERTAIN if one.pattern == other.pattern else Overlap.POSSIBLE
    pattern = one.pattern or other.pattern
    if pattern is not None and pattern.select(one.tags | other.tags):
        return Overlap.CERTAIN
    return Overlap.NONE


def _share_with_policy(one: TagSet, other: TagSet) -> Overlap:
    """Return what the tags of a policy have in common with others: which it selects, the list of them decides."""
    policy = one.policy
    if policy is None or other.policy == policy:
        return Overlap.CERTAIN
    if not other.is_named:
        return Overlap.POSSIBLE
    if any(policy.takes(tag) for tag in other.tags):
        return Overlap.CERTAIN
    return Overlap.POSSIBLE if any(policy.may_take(tag) for tag in other.tags) else Overlap.NONE


def _has_tags(tags: TagSet) -> bool:
    return bool(tags.tags) or not tags.is_named


def find_circles(rules: Sequence[Rule]) -> list[list[int]]:
    """Return circles of rules, by their numbers, in which each certainly reads what the one before it writes.

    The first of each is said to follow the last. No rule is in two of them, and there are ``CIRCLES_REPORTED`` at most.
    A rule alone is one if it reads a tag that it writes from another one.
    """
    upstream: dict[int, set[int]] = {}
    for reader, writer, found in _overlaps(rules):
        if found is Overlap.CERTAIN:
            upstream.setdefault(reader, set()).add(writer)
    circles = [[number] for number, others in upstream.items() if number in others]
    for (number,) in circles:
        upstream[number].discard(number)
    while len(circles) < CIRCLES_REPORTED:
        try:
            graphlib.TopologicalSorter(upstream).prepare()
        except graphlib.CycleError as error:
            circle = error.args[1][1:]
            start = circle.index(min(circle))
            circles.append(circle[start:] + circle[:start])
            for number in circle:
                upstream.pop(number, None)
        else:
            break
    return sorted(circles[:CIRCLES_REPORTED])


def upstream_rules(rules: Sequence[Rule]) -> dict[str, tuple[str, ...]]:
    """Return the names of the rules that each rule follows, for those that follow any. There are no circles in it.

    A rule that perhaps reads what another writes follows it too, unless that one follows it already: of two that
    perhaps read from each other, the later follows the earlier.
    """
    upstream: defaultdict[int, set[int]] = defaultdict(set)
    possible = []
    for reader, writer, found in _overlaps(rules):
        if found is Overlap.CERTAIN:
            upstream[reader].add(writer)
        elif reader != writer:
            possible.append((reader, writer))
    # In the order of the file first.
    for reader, writer in sorted(possible, key=lambda pair: pair[0] < pair[1]):
        if not _follows(writer, reader, upstream):
            upstream[reader].add(writer)
    return {
        rules[number].name: tuple(rules[other].name for other in sorted(others)) for number, others in upstream.items()
    }


def _follows(follower: int, other: int, upstream: dict[int, set[int]]) -> bool:
    """Return whether a rule follows another one, by itself or by way of others."""
    seen: set[int] = set()
    waiting = [follower]
    while waiting:
        number = waiting.pop()
        if number == other:
            return True
        if number not in seen:
            seen.add(number)
            waiting += upstream.get(number, ())
    return False


def _overlaps(rules: Sequence[Rule]) -> Iterator[tuple[int, int, Overlap]]:
    """Yield the pairs of rules, by number, of which the first reads what the second writes, and how sure that is."""
    readers: defaultdict[str, list[int]] = defaultdict(list)
    for number, rule in enumerate(rules):
        readers[rule.source.repository.name].append(number)
    writers: defaultdict[str, list[tuple[int, TagSet]]] = defaultdict(list)
    for number, rule in enumerate(rules):
        for destination in rule.destinations:
            if destination.repository.name in readers:
                written = tags_written(rule.source, destination)
                writers[destination.repository.name].append((number, written))
    for name, written_here in writers.items():
        index = _WriterIndex(written_here)
        for reader in readers[name]:
            read = tags_read(rules[reader].source)
            for writer, written in index.candidates(read):
                if found := overlap(written, read):
                    yield reader, writer, found


class _WriterIndex:
    """What is written into one repository, by tag: ten thousand rules may name one tag each."""

    def __init__(self, writers: list[tuple[int, TagSet]]) -> None:
        self._all = writers
        self._by_tag: defaultdict[str, list[tuple[int, TagSet]]] = defaultdict(list)
        self._unnamed = []
        for writer in writers:
            if not writer[1].is_named:
                self._unnamed.append(writer)
            for tag in writer[1].tags:
                self._by_tag[tag].append(writer)

    def candidates(self, read: TagSet) -> Iterator[tuple[int, TagSet]]:
        """Yield what may overlap with what is read."""
        if read.digests or not read.is_named:
            yield from self._all
            return
        yield from self._unnamed
        for tag in read.tags:
            yield from self._by_tag.get(tag, ())
