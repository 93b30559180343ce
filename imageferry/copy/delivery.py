"""Every blob to every destination, each byte once: what is there already, what can be mounted, what must move."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from imageferry.copy.errors import DeliveryError
from imageferry.copy.holdings import Holdings
from imageferry.copy.transfer import Sessions
from imageferry.errors import ImageferryError
from imageferry.registry import Descriptor, Repository
from imageferry.report import Outcomes

#: Moves a blob's bytes from a repository to some others; raises ``DeliveryError``.
Move = Callable[[Descriptor, Repository, list[Repository]], Awaitable[None]]


@dataclass(slots=True)
class _Demand:
    """Who waits for one blob. The one who holds the lock serves all who wait at that moment."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: dict[str, Repository] = field(default_factory=dict)
    failures: dict[str, ImageferryError] = field(default_factory=dict)
    askers: int = 0


class Deliveries:
    """Brings blobs to repositories. ``move`` does the moving; ``proc`` moves are under way at the same time.

    One blob is dealt with by one task at a time, so that two tags which share it do not move it twice, and those that
    ask at the same moment for several destinations are served by one read.
    """

    def __init__(self, holdings: Holdings, outcomes: Outcomes, move: Move, proc: int) -> None:
        self.move = move
        self.sessions: Sessions = {}
        self._holdings = holdings
        self._outcomes = outcomes
        self._slots = asyncio.Semaphore(proc)
        self._demands: defaultdict[str, _Demand] = defaultdict(_Demand)

    async def deliver(
        self, blob: Descriptor, source: Repository, destinations: Iterable[Repository]
    ) -> dict[str, ImageferryError]:
        """See that every destination has the blob; give the errors of those that do not, by the repository's name."""
        lacking = [place for place in destinations if not self._holdings.has_blob(place, blob.digest)]
        if not lacking:
            return {}
        demand = self._demands[blob.digest]
        demand.askers += 1
        try:
            for place in lacking:
                demand.waiting[place.name] = place
                demand.failures.pop(place.name, None)
            async with demand.lock:
                if any(place.name in demand.waiting for place in lacking):
                    await self._serve(blob, source, demand)
            return {place.name: demand.failures[place.name] for place in lacking if place.name in demand.failures}
        finally:
            demand.askers -= 1
            if not demand.askers:
                self._demands.pop(blob.digest, None)

    async def _serve(self, blob: Descriptor, source: Repository, demand: _Demand) -> None:
        # The wait for a slot comes first: who asks meanwhile is served by the same read.
        async with self._slots:
            # To mount or upload a blob again where it has just arrived would disturb those who read it there:
            # docker/distribution 2.8 rewrites the link that a manifest's check is reading.
            places = [place for place in demand.waiting.values() if not self._holdings.has_blob(place, blob.digest)]
            demand.waiting.clear()
            first, later = self._one_a_registry(places, source)
            demand.failures |= await self._bring(blob, source, first)
            demand.failures |= await self._bring(blob, source, later)

    def _one_a_registry(
        self, places: list[Repository], source: Repository
    ) -> tuple[list[Repository], list[Repository]]:
        """Split off those that can mount from another place of the same registry once that has the blob."""
        first: dict[str, Repository] = {}
        later = []
        for place in places:
            if place.registry == source.registry or place.registry not in first:
                first[place.registry if place.registry != source.registry else place.name] = place
            else:
                later.append(place)
        return list(first.values()), later

    async def _bring(
        self, blob: Descriptor, source: Repository, places: list[Repository]
    ) -> dict[str, ImageferryError]:
        failures: dict[str, ImageferryError] = {}

        async def lacks(place: Repository) -> bool:
            try:
                return not await self._is_there(blob, source, place)
            except ImageferryError as error:
                failures[place.name] = error
                return False

        answers = await asyncio.gather(*map(lacks, places))
        lacking = [place for place, lack in zip(places, answers, strict=True) if lack]
        if lacking:
            try:
                await self.move(blob, source, lacking)
            except DeliveryError as error:
                failures |= error.failures
        arrived = [place for place in lacking if place.name not in failures]
        self._outcomes.totals.blobs_copied += len(arrived)
        for place in places:
            if place.name not in failures:
                self._holdings.add_blob(place, blob.digest)
        return failures

    async def _is_there(self, blob: Descriptor, source: Repository, place: Repository) -> bool:
        """Whether the place has the blob, or got it without moving it."""
        totals, digest = self._outcomes.totals, blob.digest
        neighbour = source.repository if place.registry == source.registry else None
        neighbour = neighbour or self._holdings.elsewhere(place, digest)
        if neighbour is not None and neighbour != place.repository:
            session = await place.uploads.mount(digest, neighbour)
            if session is None:
                totals.blobs_mounted += 1
                return True
            self.sessions[place.name, digest] = session
            return False
        if self._holdings.was_empty(place):
            return False
        if await place.blobs.exists(digest):
            totals.blobs_present += 1
            return True
        return False
