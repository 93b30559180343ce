"""Every blob to every destination, each byte once: what is there already, what can be mounted, what must move."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from imageferry.copy.errors import DeliveryError
from imageferry.copy.known_contents import KnownContents
from imageferry.copy.transfer import WHOLE_LIMIT, Sessions
from imageferry.errors import ImageferryError
from imageferry.registry import Descriptor, Repository
from imageferry.report.outcomes import Outcomes

#: Moves a blob's bytes from a repository to some others; raises ``DeliveryError``.
BlobMover = Callable[[Descriptor, Repository, list[Repository]], Awaitable[None]]


@dataclass(slots=True)
class _PendingBlob:
    """Who waits for one blob. The one who holds the lock serves all who wait at that moment."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: dict[str, Repository] = field(default_factory=dict)
    failures: dict[str, ImageferryError] = field(default_factory=dict)
    #: For each place, the source from which it was served last.
    served_from: dict[str, str] = field(default_factory=dict)
    #: The places to which it moved, until the first image that asked has counted its bytes.
    moved: set[str] = field(default_factory=set)
    askers: int = 0


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What became of one blob for one image: errors by the repository's name, and the repositories it was sent to."""

    failures: dict[str, ImageferryError]
    sent_to: set[str]


class BlobDistributor:
    """Brings blobs to repositories. ``move`` does the moving; ``proc`` moves are under way at the same time.

    One blob is dealt with by one task at a time, so that two tags which share it do not move it twice, and those that
    ask at the same moment for several destinations are served by one read.
    """

    def __init__(self, holdings: KnownContents, outcomes: Outcomes, move: BlobMover, proc: int) -> None:
        self.move = move
        self.sessions: Sessions = {}
        self._holdings = holdings
        self._outcomes = outcomes
        self._slots = asyncio.Semaphore(proc)
        self._demands: defaultdict[str, _PendingBlob] = defaultdict(_PendingBlob)

    async def drop_sessions(self) -> None:
        """Cancel the upload sessions that refused mounts have left and no blob has used."""
        sessions = list(self.sessions.values())
        self.sessions.clear()
        await asyncio.gather(*(session.cancel() for session in sessions))

    async def deliver(self, blob: Descriptor, source: Repository, destinations: Iterable[Repository]) -> DeliveryResult:
        """See that every destination has the blob."""
        lacking = [place for place in destinations if not self._holdings.has_blob(place, blob.digest)]
        if not lacking:
            return DeliveryResult({}, set())
        demand = self._demands[blob.digest]
        demand.askers += 1
        try:
            for place in lacking:
                demand.waiting[place.name] = place
                demand.failures.pop(place.name, None)
            async with demand.lock:
                for place in lacking:
                    if self._is_unserved(place, blob, source, demand):
                        demand.waiting[place.name] = place
                        demand.failures.pop(place.name, None)
                if any(place.name in demand.waiting for place in lacking):
                    await self._serve(blob, source, demand)
            names = {place.name for place in lacking}
            moved = demand.moved & names
            demand.moved -= names
            return DeliveryResult({name: demand.failures[name] for name in names if name in demand.failures}, moved)
        finally:
            demand.askers -= 1
            if not demand.askers:
                self._demands.pop(blob.digest, None)

    def _is_unserved(self, place: Repository, blob: Descriptor, source: Repository, demand: _PendingBlob) -> bool:
        """Whether a place has neither the blob nor an error of its own.

        Who served it may have been cancelled; and what another image's source could not give, this one's may.
        """
        if self._holdings.has_blob(place, blob.digest):
            return False
        return place.name not in demand.failures or demand.served_from.get(place.name) != source.name

    async def _serve(self, blob: Descriptor, source: Repository, demand: _PendingBlob) -> None:
        """Serve all who wait: a look at each place first, then one move for those that lack the blob.

        Who asks while the move waits for its turn is served by the same read.
        """
        lacking: list[Repository] = []
        later: list[Repository] = []
        await self._look(blob, source, demand, lacking, later)
        async with self._slots if lacking else contextlib.nullcontext():
            await self._look(blob, source, demand, lacking, later)
            await self._move(blob, source, lacking, demand)
        if later:
            # Their registry has the blob now, to be mounted from; where it has not, each is brought its own.
            lacking = await self._lacking(blob, source, later, demand)
            async with self._slots if lacking else contextlib.nullcontext():
                await self._move(blob, source, lacking, demand)

    async def _look(
        self,
        blob: Descriptor,
        source: Repository,
        demand: _PendingBlob,
        lacking: list[Repository],
        later: list[Repository],
    ) -> None:
        """Take in those who wait: add to ``lacking`` those to which the blob must move, to ``later`` their neighbours.

        One place a registry is enough: its neighbours mount from it once it has the blob.
        """
        # To mount or upload a blob again where it has just arrived would disturb those who read it there:
        # docker/distribution 2.8 rewrites the link that a manifest's check is reading.
        taken = {place.name for place in (*lacking, *later)}
        places = [
            place
            for place in demand.waiting.values()
            if place.name not in taken and not self._holdings.has_blob(place, blob.digest)
        ]
        demand.served_from |= dict.fromkeys(demand.waiting, source.name)
        demand.waiting.clear()
        registries = {place.registry for place in lacking}
        first = []
        for place in places:
            if place.registry in registries:
                later.append(place)
            else:
                first.append(place)
                # At the source's own registry each place mounts from the source.
                registries |= {place.registry} - {source.registry}
        lacking += await self._lacking(blob, source, first, demand)

    async def _lacking(
        self, blob: Descriptor, source: Repository, places: list[Repository], demand: _PendingBlob
    ) -> list[Repository]:
        """Give the places to which the blob must move; the others have it, have mounted it, or have failed."""

        async def lacks(place: Repository) -> bool:
            try:
                there = await self._is_there(blob, source, place)
            except ImageferryError as error:
                demand.failures[place.name] = error
                return False
            if there:
                self._holdings.add_blob(place, blob.digest)
            return not there

        answers = await asyncio.gather(*map(lacks, places))
        return [place for place, lack in zip(places, answers, strict=True) if lack]

    async def _move(self, blob: Descriptor, source: Repository, places: list[Repository], demand: _PendingBlob) -> None:
        if not places:
            return
        try:
            await self.move(blob, source, places)
        except DeliveryError as error:
            demand.failures |= error.failures
        for place in places:
            if place.name not in demand.failures:
                self._outcomes.totals.blobs_copied += 1
                self._holdings.add_blob(place, blob.digest)
                demand.moved.add(place.name)

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
        if self._holdings.is_known_empty(place) and 0 <= blob.size <= WHOLE_LIMIT:
            # To send it takes no longer than to ask for it.
            return False
        if await place.blobs.exists(digest):
            self._holdings.remove_empty(place)
            totals.blobs_present += 1
            return True
        self._holdings.add_miss(place)
        return False
