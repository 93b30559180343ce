"""The rules under ``images``: a mapping of sources to destinations, or a list of ``{from, to, …}`` with options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from imageferry.config.defaults import Defaults
from imageferry.config.destination import parse_destination
from imageferry.config.document import Document, KeyPath, type_name
from imageferry.config.existing import read_existing
from imageferry.config.rule_defaults import read_platforms
from imageferry.config.schema import EntrySchema, validate, wrong_type
from imageferry.config.source import parse_source
from imageferry.config.tag_policy import read_tag_policy
from imageferry.errors import ImageferryError
from imageferry.existing_tags import ExistingTags
from imageferry.model import Destination, Rule, Source
from imageferry.reference import Reference
from imageferry.rule_order import find_circles
from imageferry.selection import PlatformFilter
from imageferry.tag_policy import TagPolicy

_FORMS = "a mapping of sources to destinations, or a list of {from, to, platforms}"


def read_rules(
    document: Document,
    path: KeyPath,
    defaults: Defaults,
    environment: Mapping[str, str],
) -> tuple[Rule, ...]:
    """Return the rules of the value at ``path``, in their order; report the errors in them.

    ``{}`` and ``[]`` are no rules: nothing to do, as in the file of failed images of a run without failures.
    """
    images = document.at(path)
    reader = _Reader(document, defaults, environment)
    if not isinstance(images, (dict, list)):
        document.report(path, f"is {type_name(images)}: expected {_FORMS}")
    elif isinstance(images, dict):
        for source in images:
            reader.add(source, (*path, source), (*path, source))
    else:
        for index in range(len(images)):
            reader.add_entry((*path, index))
    reader.refuse_circles()
    return tuple(reader.rules)


class _Reader:
    """Reads one rule after another, and remembers the tags that those before it write."""

    def __init__(self, document: Document, defaults: Defaults, environment: Mapping[str, str]) -> None:
        self.rules: list[Rule] = []
        self._document, self._defaults, self._environment = document, defaults, environment
        self._names: Counter[str] = Counter()
        self._writers: dict[tuple[str, str, str], _Writer] = {}
        # Where each rule stands, in their order.
        self._paths: list[KeyPath] = []

    def add_entry(self, path: KeyPath) -> None:
        """Add a rule in the form with options."""
        entry = validate(self._document, path, EntrySchema)
        if entry is None:
            return
        if not isinstance(entry.source, str):
            inner = (*path, "from")
            self._document.report(inner, wrong_type(entry.source, "text", inner))
            return
        platforms = read_platforms(self._document, (*path, "platforms"), entry.platforms)
        tags = read_tag_policy(self._document, (*path, "tags")) if "tags" in self._document.at(path) else None
        existing = read_existing(self._document, path, self._defaults.rules.existing)
        self.add(entry.source, (*path, "from"), (*path, "to"), platforms, tags, existing=existing)

    def add(
        self,
        text: str,
        at: KeyPath,
        to: KeyPath,
        platforms: PlatformFilter = PlatformFilter(),  # noqa: B008 - it is frozen
        tags: TagPolicy | None = None,
        *,
        existing: ExistingTags | None = None,
    ) -> None:
        """Add the rule of the source ``text``, which is written at ``at``, and the destinations at ``to``."""
        try:
            source = self._with_policy(parse_source(text), tags, (*at[:-1], "tags"))
        except ImageferryError as error:
            self._document.report(at, str(error), at_key=at == to)
            return
        default = self._defaults.rules.platforms
        found = {}
        for path, written in self._read_destinations(to):
            try:
                destination = parse_destination(written, source, self._defaults, self._environment)
            except ImageferryError as error:
                self._document.report(path, str(error))
                continue
            # A destination given twice is taken once, as image-syncer does.
            if destination is not None and destination not in found:
                found[destination] = written
                self._refuse_collision(path, source, destination, platforms or default)
        self._names[text] += 1
        # No source ends in ")", so no other rule has this name.
        name = text if self._names[text] == 1 else f"{text} ({self._names[text]})"
        existing = self._defaults.rules.existing if existing is None else existing
        written_at = tuple(found.values())
        self.rules.append(Rule(name, source, tuple(found), platforms, written_at, default, existing))
        self._paths.append(at)

    def _with_policy(self, source: Source, tags: TagPolicy | None, path: KeyPath) -> Source:
        """Return the source with the policy at ``path``, else the default one, where its tags are listed."""
        if source.items or source.pattern:
            if tags is not None:
                self._document.report(path, "the source names its tags already", at_key=True)
            return source
        return replace(source, policy=tags or self._defaults.rules.tags)

    def refuse_circles(self) -> None:
        """Report the rules that read what they themselves write, by way of each other: none could be the first."""
        for circle in find_circles(self.rules):
            self._document.report(self._paths[circle[0]], self._describe_circle(circle), at_key=True)

    def _describe_circle(self, circle: list[int]) -> str:
        if len(circle) == 1:
            return (
                "copies a tag onto another one that it reads as well: which image is meant depends on the order; "
                "give them rules that do not read what they write"
            )
        # The first follows the last, that one the one before it, and so on.
        chain = [f"line {self._line(number)} ({self.rules[number].name})" for number in reversed(circle[1:])]
        return (
            f"reads what {', which reads what '.join(f'{each} writes' for each in chain)}, which reads what this rule "
            "writes: in such a circle no rule can be the first"
        )

    def _line(self, number: int) -> int:
        return self._document.key_position(self._paths[number]).line

    def _read_destinations(self, path: KeyPath) -> list[tuple[KeyPath, str]]:
        """Return the destinations at ``path`` that are text, each with its own path; report the others."""
        value = self._document.at(path)
        if isinstance(value, list):
            if not value:
                self._document.report(path, "is an empty list: expected at least one destination")
            pairs: list[tuple[KeyPath, Any]] = [((*path, index), each) for index, each in enumerate(value)]
        else:
            pairs = [(path, value)]
        for inner, each in pairs:
            if not isinstance(each, str):
                self._document.report(inner, _not_a_destination(each, inner))
        return [(inner, each) for inner, each in pairs if isinstance(each, str)]

    def _refuse_collision(
        self,
        path: KeyPath,
        source: Source,
        destination: Destination,
        platforms: PlatformFilter,
    ) -> None:
        """Report a tag that is written from two sources: the last would win, and nobody would notice."""
        targets = destination.targets or [each.tag or each.digest or "" for each in source.items]
        # What an expression finds gets the one tag that its destination names.
        sources: tuple[Reference | Source, ...] = source.items or (source,) * len(targets)
        for target, copied in zip(targets, sources, strict=True):
            if ":" in target:  # a digest: the same content, whichever rule writes it
                continue
            written = (destination.repository.registry, destination.repository.repository, target)
            first = self._writers.get(written)
            if first is None:
                self._writers[written] = (copied, platforms, self._document.key_position(path).line)
            elif first[:2] != (copied, platforms):
                what = "another source" if first[0] != copied else "the same source with other platforms"
                self._document.report(
                    path, f"writes a tag which line {first[2]} writes from {what}: the last would win"
                )
                return


_Writer = tuple[Reference | Source, PlatformFilter, int]


def _not_a_destination(value: object, path: KeyPath) -> str:
    if value is None:
        return 'is nothing: expected a destination, or "" for the default registry'
    if isinstance(value, dict):
        return "is a mapping: expected a destination or a list; options are for the form - {from: …, to: …}"
    return wrong_type(value, "text", path)
