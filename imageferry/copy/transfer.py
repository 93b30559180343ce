"""The bytes of one blob, from its source to the destinations that lack it: one read feeds them all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from imageferry.copy.errors import DeliveryError
from imageferry.copy.reader import BlobReader, HashCheckpoints
from imageferry.copy.upload_stream import UploadStream
from imageferry.errors import ImageferryError
from imageferry.registry import Descriptor, Repository
from imageferry.registry.errors import NotFound
from imageferry.registry.uploads import Upload
from imageferry.report.outcomes import Outcomes
from imageferry.text import short_digest

#: Blobs up to this size (bytes) are held in memory and sent in one request, which can be tried again by itself.
WHOLE_LIMIT = 512 * 1024

Sessions = dict[tuple[str, str], Upload]


class BlobTransfer:
    """Moves one blob, from the first of ``places`` that gives it.

    ``sessions`` has the upload sessions that refused mounts have left, and is drained of them.
    """

    def __init__(self, blob: Descriptor, places: Sequence[Repository], outcomes: Outcomes, sessions: Sessions) -> None:
        self._blob = blob
        self._places = places
        self._outcomes = outcomes
        self._sessions = sessions
        self._arrived: list[Repository] = []
        self._failures: dict[str, ImageferryError] = {}

    async def to(self, destinations: Sequence[Repository]) -> None:
        """Read the blob once and upload it to every destination; what breaks off goes on where it broke.

        Raises ``DeliveryError`` that names the destinations which did not get it; an error of the source is one of
        them all. Nothing is committed unless the bytes hash to the digest.
        """
        try:
            await self._learn_size()
            if self._blob.size <= WHOLE_LIMIT:
                await self._whole(destinations)
            else:
                await self._streamed(destinations)
        except ImageferryError as error:
            self._failures |= {destination.name: error for destination in destinations}
        finally:
            self._outcomes.active_blobs.pop(self._blob.digest, None)
        if self._failures:
            raise DeliveryError(f"blob {self._blob.digest}", self._failures)

    async def _learn_size(self) -> None:
        """Ask for the size where the manifest does not say it (schema 1)."""
        if self._blob.size < 0:
            source = self._places[-1]
            size = await source.blobs.size(self._blob.digest)
            if size is None or size < 0:
                raise NotFound(f"read blob {short_digest(self._blob.digest)} of {source.name}", "it is not there")
            self._blob = replace(self._blob, size=size)

    async def _whole(self, destinations: Sequence[Repository]) -> None:
        content = b"".join([piece async for piece in self._pieces(BlobReader(self._places, self._blob))])

        async def send(destination: Repository) -> None:
            try:
                upload = await self._session(destination)
                await upload.put(content)
            except ImageferryError as error:
                self._failures[destination.name] = error
            else:
                self._sent(len(content))

        await asyncio.gather(*map(send, destinations))

    async def _streamed(self, destinations: Sequence[Repository]) -> None:
        """Feed all destinations from one reading; those whose upload broke are fed by another, from where they broke.

        So none waits for another to recover, and what one of them has got is read there and not at the source again.
        """
        marks, places = HashCheckpoints(self._blob), {destination.name: destination for destination in destinations}
        outlets: dict[str, UploadStream] = {}
        try:
            await self._open(destinations, outlets)
            while outlets:
                await self._feed(list(outlets.values()), marks)
                left = await asyncio.gather(*(self._goes_on(places[name], outlets[name]) for name in outlets))
                outlets = {
                    name: outlet for (name, outlet), goes_on in zip(outlets.items(), left, strict=True) if goes_on
                }
        except ImageferryError as error:
            for name, outlet in outlets.items():
                # An upload that broke off would have gone on, had the source.
                own = outlet.error
                self._failures[name] = own if own is not None and not own.transient else error
        finally:
            await asyncio.gather(*(outlet.drop() for outlet in outlets.values()))

    async def _feed(self, outlets: Sequence[UploadStream], marks: HashCheckpoints) -> None:
        """Read from the first byte that an outlet lacks to the end, give each what it lacks, and commit the uploads."""
        begin = min(outlet.lacks for outlet in outlets)
        if begin < self._blob.size:
            reader = BlobReader([*self._arrived, *self._places], self._blob, begin, marks)
            async with contextlib.aclosing(self._pieces(reader)) as pieces:
                async for piece in pieces:
                    active_blobs = [outlet for outlet in outlets if outlet.error is None]
                    if not active_blobs:
                        break
                    for outlet in active_blobs:
                        await outlet.give(piece, reader.position - len(piece), alone=len(active_blobs) == 1)
        await asyncio.gather(*(outlet.finish() for outlet in outlets))

    async def _open(self, destinations: Sequence[Repository], outlets: dict[str, UploadStream]) -> None:
        for destination in destinations:
            try:
                upload = await self._session(destination)
            except ImageferryError as error:
                self._failures[destination.name] = error
            else:
                outlets[destination.name] = UploadStream(upload, self._blob.size, self._sent)

    async def _goes_on(self, destination: Repository, outlet: UploadStream) -> bool:
        """Whether a destination has to be fed again; no session is left where it has not got the blob."""
        if outlet.error is None:
            self._arrived.append(destination)
        elif await outlet.recover():
            return True
        else:
            self._failures[destination.name] = outlet.error
            await outlet.drop()
        return False

    async def _session(self, destination: Repository) -> Upload:
        left = self._sessions.pop((destination.name, self._blob.digest), None)
        return left or await destination.uploads.start(self._blob.digest)

    async def _pieces(self, reader: BlobReader) -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(reader.pieces()) as pieces:
            async for piece in pieces:
                self._outcomes.totals.bytes_read += len(piece)
                self._outcomes.active_blobs[self._blob.digest] = (reader.position, self._blob.size)
                yield piece

    def _sent(self, count: int) -> None:
        self._outcomes.totals.bytes_written += count
