"""Every blob to every destination, each byte once: found there, mounted there, or moved there."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from imageferry.copy.blob_move import BlobMove, BlobMover
from imageferry.copy.errors import DeliveryError, LeftBehind, as_expected
from imageferry.copy.known_contents import KnownContents
from imageferry.copy.transfer import SMALL_BLOB_LIMIT, BlobTransfer, Sessions
from imageferry.errors import ImageferryError
from imageferry.registry import Descriptor, Repository
from imageferry.registry.limits.registry_limits import RunLimits
from imageferry.report.outcomes import Outcomes


@dataclass(slots=True)
class _PendingBlob:
    """Those that wait for one blob. The task that holds the lock serves all that wait at that moment.

    Repositories are keyed by their names. ``offered`` are the sources of all who have asked, ``reading`` those that the
    blob is read from at the moment, to which they are added: one that is slow holds nobody who has another.
    """

    lock: asyncio.Lock
    slots: asyncio.Semaphore
    offered: dict[str, Repository] = field(default_factory=dict)
    reading: list[Repository] = field(default_factory=list)
    waiting: dict[str, Repository] = field(default_factory=dict)
    failures: dict[str, ImageferryError] = field(default_factory=dict)
    # The name of the source from which each destination was served last.
    served_from: dict[str, str] = field(default_factory=dict)
    # The destinations to which it was moved, until the first image that asked has counted its bytes.
    moved: set[str] = field(default_factory=set)
    askers: int = 0

    def ask(self, destinations: Iterable[Repository]) -> None:
        """Add destinations to those that wait; an earlier error of theirs no longer counts."""
        for destination in destinations:
            self.waiting[destination.name] = destination
            self.failures.pop(destination.name, None)

    def offer(self, source: Repository) -> None:
        """Add the source of one who asks."""
        self.offered[source.name] = source
        if self.reading:
            self.read_from(self.reading)

    def read_from(self, sources: list[Repository]) -> None:
        """Note from where the blob is read, and add what is offered to that; an empty list ends it."""
        self.reading = sources
        names = {each.name for each in sources}
        if sources:
            sources += [each for name, each in self.offered.items() if name not in names]

    def is_unserved(self, destination: Repository, source: Repository) -> bool:
        """Return whether a destination without the blob should be served from ``source``.

        It has no error if the task that served it was cancelled; and what another image's source lacked, this one's
        may have.
        """
        return destination.name not in self.failures or self.served_from.get(destination.name) != source.name


@dataclass(frozen=True, slots=True)
class _Round:
    """The destinations that are served together.

    The blob moves to those that are ``lacking`` it; ``later`` ones try to mount it from a neighbour among them first.
    """

    lacking: tuple[Repository, ...] = ()
    later: tuple[Repository, ...] = ()


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What became of one blob for one image: errors by repository name, and the repositories it was sent to."""

    failures: dict[str, ImageferryError]
    sent_to: set[str]


class BlobDistributor:
    """Brings blobs to repositories. ``proc`` blobs are moved at the same time, by ``mover``.

    One blob is served by one task at a time, so that two tags which share it do not move it twice, and destinations
    that ask at the same moment are fed by one read.
    """

    def __init__(
        self, known: KnownContents, outcomes: Outcomes, limits: RunLimits, mover: BlobMover, proc: int
    ) -> None:
        self._known = known
        self._outcomes = outcomes
        self._limits = limits
        self._mover = mover
        self._slots, self._slots_apart = asyncio.Semaphore(proc), asyncio.Semaphore(proc)
        self._sessions: Sessions = {}
        # What a manifest says of a blob is its image's alone: those that say another size wait apart, and fail apart.
        self._pending: dict[tuple[str, int, str], _PendingBlob] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def aclose(self) -> None:
        """Cancel the upload sessions that refused mounts have left and no blob has used."""
        sessions = list(self._sessions.values())
        self._sessions.clear()
        await asyncio.gather(*(session.cancel() for session in sessions))

    async def ensure_blob(
        self, blob: Descriptor, source: Repository, destinations: Iterable[Repository], *, apart: bool = False
    ) -> DeliveryResult:
        """Make sure that every destination has the blob. Never raises for a registry: see ``DeliveryResult``.

        ``apart``: the destination is one that others should not wait for; it is served by itself.
        """
        lacking = self._without(blob, destinations)
        if not lacking:
            return DeliveryResult({}, set())
        key = (blob.digest, blob.size, lacking[0].name if apart else "")
        if key not in self._pending:
            lock = self._locks.setdefault(f"{key[2]} {blob.digest}", asyncio.Lock())
            self._pending[key] = _PendingBlob(lock, self._slots_apart if apart else self._slots)
        pending = self._pending[key]
        pending.askers += 1
        try:
            pending.ask(lacking)
            pending.offer(source)
            async with pending.lock:
                pending.ask(each for each in self._without(blob, lacking) if pending.is_unserved(each, source))
                if any(each.name in pending.waiting for each in lacking):
                    await self._serve_waiting(blob, source, pending)
            names = {each.name for each in lacking}
            sent_to = pending.moved & names
            pending.moved -= names
            failures = {name: pending.failures[name] for name in names if name in pending.failures}
            return DeliveryResult(failures, sent_to)
        finally:
            pending.askers -= 1
            if not pending.askers:
                self._pending.pop(key, None)

    def _without(self, blob: Descriptor, destinations: Iterable[Repository]) -> list[Repository]:
        return [each for each in destinations if not self._known.has_blob(each, blob.digest)]

    async def _serve_waiting(self, blob: Descriptor, source: Repository, pending: _PendingBlob) -> None:
        """Serve all that wait: look at each destination first, then move the blob once to those that lack it.

        Destinations that ask while the move waits for its slot are served by the same read.
        """
        found = _Round()
        while pending.waiting and not found.lacking:
            found = await self._collect_waiting(blob, source, pending, found)
        async with pending.slots if found.lacking else contextlib.nullcontext():
            found = await self._collect_waiting(blob, source, pending, found)
            await self._move(blob, source, found.lacking, pending)
        if found.later:
            # Their registry has the blob now, to be mounted; where it has not, each gets it by a move of its own.
            lacking = await self._filter_missing(blob, source, found.later, pending)
            async with pending.slots if lacking else contextlib.nullcontext():
                await self._move(blob, source, lacking, pending)

    async def _collect_waiting(
        self, blob: Descriptor, source: Repository, pending: _PendingBlob, before: _Round
    ) -> _Round:
        """Return the round ``before`` with those that wait added to it; nobody waits then.

        One destination a registry gets the blob moved: its neighbours mount it from there later.
        """
        # To mount or upload a blob again where it has just arrived would disturb those who read it there:
        # docker/distribution 2.8 rewrites the link that a manifest's check is reading.
        collected = {each.name for each in (*before.lacking, *before.later)}
        added = [each for each in self._without(blob, pending.waiting.values()) if each.name not in collected]
        pending.served_from |= dict.fromkeys(pending.waiting, source.name)
        pending.waiting.clear()
        registries = {each.registry for each in before.lacking}
        first, later = [], []
        for destination in added:
            if destination.registry in registries:
                later.append(destination)
            else:
                first.append(destination)
                # At the source's own registry each destination mounts from the source.
                registries |= {destination.registry} - {source.registry}
        lacking = await self._filter_missing(blob, source, first, pending)
        return _Round((*before.lacking, *lacking), (*before.later, *later))

    async def _filter_missing(
        self, blob: Descriptor, source: Repository, destinations: Iterable[Repository], pending: _PendingBlob
    ) -> list[Repository]:
        """Return the destinations to which the blob must be moved; the others have or mount it, or have failed."""

        async def find(destination: Repository) -> bool:
            try:
                found = await self._find_or_mount(blob, source, destination)
            except Exception as error:
                # Whatever it is, the other destinations go on.
                pending.failures[destination.name] = as_expected(error)
                return True
            if found:
                self._known.add_blob(destination, blob.digest)
            return found

        candidates = list(destinations)
        answers = await asyncio.gather(*map(find, candidates))
        return [each for each, found in zip(candidates, answers, strict=True) if not found]

    async def _find_or_mount(self, blob: Descriptor, source: Repository, destination: Repository) -> bool:
        """Mount the blob where a neighbour has it, else look it up; return whether the destination has it now."""
        totals, digest = self._outcomes.totals, blob.digest
        neighbour = source.repository if destination.registry == source.registry else None
        neighbour = neighbour or self._known.mountable_from(destination, digest)
        if self._known.is_disputed(destination, digest):
            neighbour = None
        if neighbour is not None and neighbour != destination.repository:
            session = await destination.uploads.mount(digest, neighbour)
            if session is None:
                totals.blobs_mounted += 1
                return True
            self._sessions[destination.name, digest] = session
            return False
        if self._known.is_known_empty(destination) and 0 <= blob.size <= SMALL_BLOB_LIMIT:
            # To send it takes no longer than to look it up.
            return False
        if await destination.blobs.exists(digest):
            self._known.remove_empty(destination)
            totals.blobs_present += 1
            return True
        self._known.note_absent(destination)
        return False

    async def _move(
        self, blob: Descriptor, source: Repository, destinations: Iterable[Repository], pending: _PendingBlob
    ) -> None:
        move = BlobMove(blob, source, list(destinations), functools.partial(self._transfer, pending))
        if not move.destinations:
            return
        try:
            await self._mover(move)
        except DeliveryError as error:
            pending.failures |= error.failures
        except Exception as error:
            pending.failures |= dict.fromkeys((each.name for each in move.destinations), as_expected(error))
        pending.failures |= move.left_behind
        pending.moved |= {each.name for each in move.destinations} - pending.failures.keys()

    async def _transfer(self, pending: _PendingBlob, move: BlobMove) -> None:
        """Make one attempt at a move, and record where the blob has arrived. Raises ``DeliveryError``.

        A source is read once: what a later rule needs elsewhere comes from a repository that the blob was moved to.
        """
        wanted = [each for each in move.destinations if each.name not in move.left_behind]
        lacking = self._without(move.blob, wanted)
        if not lacking:
            return
        sources = [*self._known.replicas(move.blob.digest), move.source]
        transfer = BlobTransfer(move.blob, sources, self._outcomes, self._sessions)
        pending.read_from(sources)
        failures: dict[str, ImageferryError] = {}
        try:
            async with self._limits.blob(each.registry for each in (sources[0], *lacking)):
                await transfer.run(lacking)
        except DeliveryError as error:
            failures = error.failures
        finally:
            pending.read_from([])
        self._record_arrival(move.blob, [each for each in lacking if each.name not in failures])
        behind = {name for name, error in failures.items() if isinstance(error, LeftBehind)}
        move.left_behind.update({name: failures.pop(name) for name in behind})
        if failures:
            raise DeliveryError(f"blob {move.blob.digest}", failures)

    def _record_arrival(self, blob: Descriptor, destinations: list[Repository]) -> None:
        self._outcomes.totals.blobs_copied += len(destinations)
        for destination in destinations:
            self._known.add_blob(destination, blob.digest, moved=True)
