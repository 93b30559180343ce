"""The bytes of one blob, from its source to the destinations that lack it: one read feeds them all."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from imageferry.copy.errors import DeliveryError, LeftBehind
from imageferry.copy.reader import BlobReader, CodingMistaken, HashCheckpoints
from imageferry.copy.upload_stream import UploadStream
from imageferry.errors import ImageferryError
from imageferry.registry import Descriptor, Repository
from imageferry.registry.errors import InvalidResponse, NotFound
from imageferry.registry.uploads import Upload
from imageferry.report.outcomes import Outcomes
from imageferry.text import short_digest

# Blobs up to this size (bytes) are held in memory and sent in one request, which can be tried again by itself.
SMALL_BLOB_LIMIT = 512 * 1024

# Seconds that destinations wait for one that is slower, and how many times as long as they took themselves.
HOLD_LIMIT = 20.0
HOLD_FACTOR = 8

# Upload sessions by the repository's name and the blob's digest.
Sessions = dict[tuple[str, str], Upload]

# A wait (seconds) that is too short to be one.
LEAST_HOLD = 0.001


def _patience(begun: float) -> float:
    """Return the seconds for which those that have all since ``begun`` (``time.monotonic``) wait for the others."""
    return max(HOLD_LIMIT, HOLD_FACTOR * (time.monotonic() - begun))


class _Joined(Sequence[Repository]):
    """Two sequences as one; the second may grow."""

    def __init__(self, first: Sequence[Repository], second: Sequence[Repository]) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, number: Any) -> Any:
        return (*self._first, *self._second)[number]


class BlobTransfer:
    """Transfers one blob, from the first of ``sources`` that has it; the last one is the image's own.

    What is added to ``sources`` meanwhile is read from where the others are slow. ``sessions`` has the upload
    sessions that refused mounts have left; those that are used are removed from it.
    """

    def __init__(self, blob: Descriptor, sources: Sequence[Repository], outcomes: Outcomes, sessions: Sessions) -> None:
        self._blob = blob
        self._sources = sources
        self._outcomes = outcomes
        self._sessions = sessions
        self._own, self._given = sources[-1], len(sources)
        self._decoded: bool | None = None
        self._arrived: list[Repository] = []
        self._failures: dict[str, ImageferryError] = {}

    async def run(self, destinations: Sequence[Repository]) -> None:
        """Read the blob once and upload it to every destination; what breaks off goes on where it broke.

        Raises ``DeliveryError`` that names the destinations which did not get it; an error of the source is the error
        of them all. Nothing is committed unless the bytes hash to the digest.
        """
        try:
            await self._learn_size()
            try:
                await self._send(destinations)
            except CodingMistaken as mistaken:
                # Nothing of it was committed: it is read once more, the other way.
                self._decoded = not mistaken.decoded
                arrived = {each.name for each in self._arrived} | self._failures.keys()
                await self._send([each for each in destinations if each.name not in arrived])
        except ImageferryError as error:
            self._failures |= {destination.name: error for destination in destinations}
        finally:
            self._outcomes.active_blobs.pop(self._blob.digest, None)
        if self._failures:
            raise DeliveryError(f"blob {self._blob.digest}", self._failures)

    async def _send(self, destinations: Sequence[Repository]) -> None:
        if self._blob.size <= SMALL_BLOB_LIMIT:
            await self._send_small(destinations)
        else:
            await self._stream(destinations)

    async def _learn_size(self) -> None:
        """Ask for the size where the manifest does not state it (schema 1)."""
        if self._blob.size < 0:
            source = self._own
            action = f"read blob {short_digest(self._blob.digest)} of {source.name}"
            size = await source.blobs.measure(self._blob.digest)
            if size is None:
                raise NotFound(action, "it is not there")
            if size < 0:
                raise InvalidResponse(action, f"neither its manifest nor {source.host} gives its size")
            self._blob = replace(self._blob, size=size)

    async def _send_small(self, destinations: Sequence[Repository]) -> None:
        reader = BlobReader(self._sources, self._blob, given=self._given, decoded=self._decoded)
        content = b"".join([piece async for piece in self._read(reader)])

        async def send(destination: Repository) -> bool:
            try:
                upload = await self._open_session(destination)
                await upload.put(content)
            except ImageferryError as error:
                self._failures[destination.name] = error
                return False
            self._count_sent(len(content))
            return True

        for number in await self._finish_or_leave([send(each) for each in destinations]):
            name = destinations[number].name
            self._failures[name] = LeftBehind(
                f"upload blob {short_digest(self._blob.digest)} to {name}: it is too slow"
            )

    async def _finish_or_leave(self, work: Sequence[Coroutine[Any, Any, bool]]) -> list[int]:
        """Do the work for several destinations at once. Return which are cancelled, since the others wait for them.

        Each returns whether its destination has the blob: until one has it, nobody waits.
        """
        tasks = [asyncio.create_task(each) for each in work]
        begun, until = time.monotonic(), None
        try:
            while pending := [task for task in tasks if not task.done()]:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    break
                await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if until is None and any(task.done() and task.result() for task in tasks):
                    until = time.monotonic() + _patience(begun)
        finally:
            late = [number for number, task in enumerate(tasks) if not task.done()]
            for number in late:
                tasks[number].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return late

    async def _stream(self, destinations: Sequence[Repository]) -> None:
        """Feed all destinations from one reading; those whose upload broke are fed by another, from where they broke.

        So none waits for another to recover, and what one of them has got is read there and not at the source again.
        """
        checkpoints = HashCheckpoints(self._blob)
        by_name = {destination.name: destination for destination in destinations}
        streams: dict[str, UploadStream] = {}
        try:
            begun = time.monotonic()
            await self._open_streams(destinations, streams)
            while streams:
                async with asyncio.timeout(_patience(begun) if self._arrived else None):
                    await self._feed(list(streams.values()), checkpoints)
                    needs = [self._needs_more(by_name[name], stream) for name, stream in streams.items()]
                    answers = await asyncio.gather(*needs)
                streams = {
                    name: stream
                    for (name, stream), needs_more in zip(streams.items(), answers, strict=True)
                    if needs_more
                }
        except CodingMistaken:
            raise
        except TimeoutError:
            for name, stream in streams.items():
                stream.leave()
                self._failures[name] = stream.error or LeftBehind(name)
        except ImageferryError as error:
            for name, stream in streams.items():
                # An upload that broke off would have gone on, had the source.
                own = stream.error
                self._failures[name] = own if own is not None and not own.transient else error
        finally:
            await asyncio.gather(*(stream.abort() for stream in streams.values()))

    async def _open_streams(self, destinations: Sequence[Repository], streams: dict[str, UploadStream]) -> None:
        """Add a stream to ``streams`` for each destination that opens an upload session; the others have failed.

        Each is added as soon as it is open, so that it is aborted even where opening the next one is cancelled.
        """
        for destination in destinations:
            try:
                upload = await self._open_session(destination)
            except ImageferryError as error:
                self._failures[destination.name] = error
            else:
                streams[destination.name] = UploadStream(upload, self._blob.size, self._count_sent)

    async def _feed(self, streams: Sequence[UploadStream], checkpoints: HashCheckpoints) -> None:
        """Read from the first byte that a stream lacks to the end, write to each what it lacks, and close them."""
        begin = min(stream.next_offset for stream in streams)
        if begin < self._blob.size:
            sources = _Joined([*self._arrived], self._sources)
            given = len(self._arrived) + self._given
            reader = BlobReader(sources, self._blob, begin, checkpoints, given=given, decoded=self._decoded)
            async with contextlib.aclosing(self._read(reader)) as pieces:
                async for piece in pieces:
                    active = [stream for stream in streams if stream.error is None]
                    if not active:
                        break
                    for stream in active:
                        await self._write(stream, piece, reader.position - len(piece), active)

        async def close(stream: UploadStream) -> bool:
            await stream.close()
            return stream.error is None

        for number in await self._finish_or_leave([close(stream) for stream in streams]):
            streams[number].leave()

    @staticmethod
    async def _write(stream: UploadStream, piece: bytes, begins: int, active: Sequence[UploadStream]) -> None:
        """Write to one of the active streams; leave it if the others have long had nothing to send but for it."""
        begun = time.monotonic()
        await stream.write(piece, begins, alone=len(active) == 1)
        if len(active) == 1 or (ended := time.monotonic()) - begun < LEAST_HOLD:
            return
        idle = [each.idle_since for each in active if each is not stream and each.idle_since is not None]
        if idle:
            stream.held_others += ended - max(begun, min(idle))
        if stream.held_others > HOLD_LIMIT and stream.held_others > (ended - stream.begun) * (1 - 1 / HOLD_FACTOR):
            stream.leave()

    async def _needs_more(self, destination: Repository, stream: UploadStream) -> bool:
        """Resume a stream that broke, and return whether it has to be fed again.

        Otherwise the destination has the blob, or has failed and its session is cancelled.
        """
        if stream.error is None:
            self._arrived.append(destination)
        elif await stream.resume():
            return True
        else:
            self._failures[destination.name] = stream.error
            await stream.abort()
        return False

    async def _open_session(self, destination: Repository) -> Upload:
        left = self._sessions.pop((destination.name, self._blob.digest), None)
        return left or await destination.uploads.start(self._blob.digest)

    async def _read(self, reader: BlobReader) -> AsyncGenerator[bytes, None]:
        """Yield the reader's pieces, and count them."""
        async with contextlib.aclosing(reader.pieces()) as pieces:
            async for piece in pieces:
                self._outcomes.totals.bytes_read += len(piece)
                self._outcomes.active_blobs[self._blob.digest] = (reader.position, self._blob.size)
                yield piece

    def _count_sent(self, count: int) -> None:
        self._outcomes.totals.bytes_written += count
