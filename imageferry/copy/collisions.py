"""Tags that several rules would write: who writes each, once it is known which tags there are."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from imageferry.copy.errors import TagCollision
from imageferry.copy.listing import Listing
from imageferry.copy.registries import Registries
from imageferry.copy.upstream import Upstream
from imageferry.model import Destination, Rule, Source
from imageferry.reference import Reference
from imageferry.selection import PlatformFilter


@dataclass(frozen=True, slots=True)
class _Claim:
    """A rule that would write a tag, and from what. Of an expression with one target only the expression is known."""

    rule: Rule
    source: Reference | Source
    platforms: PlatformFilter

    def is_same_image(self, other: _Claim) -> bool:
        return (self.source, self.platforms) == (other.source, other.platforms)


@dataclass(slots=True)
class _SharedRepository:
    """A repository that several rules write to: the tags that they name, and the rules of which the tags are listed."""

    named: defaultdict[str, list[_Claim]] = field(default_factory=lambda: defaultdict(list))
    listed: list[tuple[Rule, Destination]] = field(default_factory=list)


class Collisions:
    """Decides which of several rules writes a tag of a repository that they share.

    A tag that a rule of the file names is that rule's, selected for this run or not, since that costs no request. Of
    tags that are listed, one that two rules would write from different images is written by none. An image that two
    rules would write alike is written by the first of them.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        selected: Collection[str],
        platforms: PlatformFilter,
        *,
        registries: Registries,
        listing: Listing,
        upstream: Upstream,
        note: Callable[[str], None],
    ) -> None:
        self._selected = selected
        self._platforms = platforms
        self._registries = registries
        self._listing = listing
        self._upstream = upstream
        self._note = note
        self._noted: set[tuple[str, str]] = set()
        self._shared = _shared_repositories(rules, selected, self._platforms_of)
        self._claims: dict[str, asyncio.Task[dict[str, list[_Claim]]]] = {}
        self._alike: dict[tuple[Reference, int], asyncio.Task[bool]] = {}

    def concern(self, rule: Rule) -> bool:
        """Return whether a rule shares one of its destinations with another rule."""
        return any(destination.repository.name in self._shared for destination in rule.destinations)

    async def is_writer(self, rule: Rule, destination: Destination, source: Reference, target: Reference) -> bool:
        """Return whether a rule is the one that writes ``source`` to ``target``, a tag or digest at ``destination``.

        Waits until the other rules that may write there are listed. Raises ``TagCollision``.
        """
        shared = self._shared.get(target.name)
        if shared is None:
            return True
        name = target.tag or target.target
        named = shared.named.get(name, [])
        mine = _Claim(rule, source, self._platforms_of(rule))
        if destination.targets or rule.source.items:
            key = source if rule.source.items else rule.source
            alike = _Claim(rule, key, mine.platforms)
            return self._is_first(rule, [claim for claim in named if claim.is_same_image(alike)])
        if others := [claim for claim in named if not claim.is_same_image(mine)]:
            self._note_precedence(rule, others[0].rule, target)
            return False
        if any(claim.rule.name in self._selected for claim in named):
            return False
        if len(shared.listed) < 2:
            return True
        return await self._is_writer_of_listed(mine, target)

    async def _is_writer_of_listed(self, mine: _Claim, target: Reference) -> bool:
        claims = (await self._list_claims(target.name)).get(target.tag or "", [])
        if not any(claim.rule is mine.rule for claim in claims):
            # The tag was not there when the rules were listed, and another one may have been written by now.
            claims = [*claims, mine]
        if all(claim.is_same_image(mine) for claim in claims) or await self._are_alike(target, claims):
            return claims[0].rule is mine.rule
        writers = " and ".join(f"rule {claim.rule.name} (from {claim.source})" for claim in claims)
        raise TagCollision(
            f"{target} would be written from different images by {writers}: nothing is written there; name the tag in "
            "the rule that is meant, or keep it out of the others"
        )

    def _platforms_of(self, rule: Rule) -> PlatformFilter:
        return rule.platforms_in(self._platforms)

    def _is_first(self, rule: Rule, claims: Sequence[_Claim]) -> bool:
        """Return whether a rule is the first of those in this run that would write one image to one tag."""
        return next((claim.rule is rule for claim in claims if claim.rule.name in self._selected), True)

    def _note_precedence(self, rule: Rule, other: Rule, target: Reference) -> None:
        """Note once for each pair of rules that a tag which is listed is written by the rule that names it."""
        if (rule.name, other.name) not in self._noted:
            self._noted.add((rule.name, other.name))
            self._note(f"rule {rule.name} leaves {target} to rule {other.name}, which names that tag")

    async def _list_claims(self, repository: str) -> dict[str, list[_Claim]]:
        if repository not in self._claims:
            self._claims[repository] = asyncio.create_task(self._collect_claims(repository))
        return await asyncio.shield(self._claims[repository])

    async def _collect_claims(self, repository: str) -> dict[str, list[_Claim]]:
        """List all rules that write what they find into a repository; return their claims by tag."""
        listed = [rule for rule, _ in self._shared[repository].listed]
        expected = await asyncio.gather(*(self._listing.expected(rule) for rule in listed))
        claims: defaultdict[str, list[_Claim]] = defaultdict(list)
        for rule, images in zip(listed, expected, strict=True):
            platforms = self._platforms_of(rule)
            for target, source in images.items():
                if target.name == repository and target.tag:
                    claims[target.tag].append(_Claim(rule, source, platforms))
        return dict(claims)

    async def _are_alike(self, target: Reference, claims: list[_Claim]) -> bool:
        key = (target, len(claims))
        if key not in self._alike:
            self._alike[key] = asyncio.create_task(self._compare(claims))
        return await asyncio.shield(self._alike[key])

    async def _compare(self, claims: list[_Claim]) -> bool:
        """Return whether all claims are for one image: one digest at all sources, and one platform filter."""
        if len({claim.platforms for claim in claims}) > 1:
            return False
        digests = await asyncio.gather(*(self._digest(claim) for claim in claims))
        return digests[0] is not None and len(set(digests)) == 1

    async def _digest(self, claim: _Claim) -> str | None:
        """Return the digest of the image that a rule would write; None where it cannot be known before."""
        origin = await self._origin(claim.rule, claim.source)
        if origin is None:
            return None
        try:
            found = await self._registries.head(origin)
        except Exception:
            # Whatever it is, what cannot be compared is not alike.
            return None
        return found.digest if found else None

    async def _origin(self, rule: Rule, source: Reference | Source) -> Reference | None:
        """Return what will be at a source: it may be written by a rule that this one follows. None where it is new."""
        if not isinstance(source, Reference):
            return None
        for other in self._upstream.of(rule):
            if (origin := (await self._listing.expected(other)).get(source)) is not None:
                return None if self._platforms_of(other) else await self._origin(other, origin)
        return source


def _shared_repositories(
    rules: Sequence[Rule], selected: Collection[str], platforms_of: Callable[[Rule], PlatformFilter]
) -> dict[str, _SharedRepository]:
    """Return the repositories that several rules write to, by name. Tags are listed for selected rules alone."""
    writers: defaultdict[str, list[tuple[Rule, Destination]]] = defaultdict(list)
    for rule in rules:
        for destination in rule.destinations:
            writers[destination.repository.name].append((rule, destination))
    shared: dict[str, _SharedRepository] = {}
    for name, pairs in writers.items():
        if len(pairs) < 2:
            continue
        shared[name] = repository = _SharedRepository()
        for rule, destination in pairs:
            platforms = platforms_of(rule)
            for number, target in enumerate(
                destination.targets or [item.tag or item.target for item in rule.source.items]
            ):
                source = rule.source.items[number] if rule.source.items else rule.source
                repository.named[target].append(_Claim(rule, source, platforms))
            if not destination.targets and not rule.source.items and rule.name in selected:
                repository.listed.append((rule, destination))
    return shared
