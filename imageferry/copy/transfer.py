"""The bytes of one blob, from its source to the destinations that lack it: one read feeds them all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

from imageferry.copy.errors import DeliveryError
from imageferry.copy.reader import BlobReader, CodingMistaken, HashCheckpoints
from imageferry.copy.upload_stream import UploadStream
from imageferry.errors import ImageferryError
from imageferry.registry import Descriptor, Repository
from imageferry.registry.errors import NotFound
from imageferry.registry.uploads import Upload
from imageferry.report.outcomes import Outcomes
from imageferry.text import short_digest

# Blobs up to this size (bytes) are held in memory and sent in one request, which can be tried again by itself.
SMALL_BLOB_LIMIT = 512 * 1024

# Upload sessions by the repository's name and the blob's digest.
Sessions = dict[tuple[str, str], Upload]


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
            size = await source.blobs.size(self._blob.digest)
            if size is None or size < 0:
                raise NotFound(f"read blob {short_digest(self._blob.digest)} of {source.name}", "it is not there")
            self._blob = replace(self._blob, size=size)

    async def _send_small(self, destinations: Sequence[Repository]) -> None:
        reader = BlobReader(self._sources, self._blob, given=self._given, decoded=self._decoded)
        content = b"".join([piece async for piece in self._read(reader)])

        async def send(destination: Repository) -> None:
            try:
                upload = await self._open_session(destination)
                await upload.put(content)
            except ImageferryError as error:
                self._failures[destination.name] = error
            else:
                self._count_sent(len(content))

        await asyncio.gather(*map(send, destinations))

    async def _stream(self, destinations: Sequence[Repository]) -> None:
        """Feed all destinations from one reading; those whose upload broke are fed by another, from where they broke.

        So none waits for another to recover, and what one of them has got is read there and not at the source again.
        """
        checkpoints = HashCheckpoints(self._blob)
        by_name = {destination.name: destination for destination in destinations}
        streams: dict[str, UploadStream] = {}
        try:
            await self._open_streams(destinations, streams)
            while streams:
                await self._feed(list(streams.values()), checkpoints)
                answers = await asyncio.gather(*(self._needs_more(by_name[name], streams[name]) for name in streams))
                streams = {
                    name: stream
                    for (name, stream), needs_more in zip(streams.items(), answers, strict=True)
                    if needs_more
                }
        except CodingMistaken:
            raise
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
                        await stream.write(piece, reader.position - len(piece), alone=len(active) == 1)
        await asyncio.gather(*(stream.close() for stream in streams))

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
