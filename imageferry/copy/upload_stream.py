"""The upload of a blob to one destination: its pieces wait here until the registry takes them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable

import httpx

from imageferry.copy.errors import LeftBehind
from imageferry.copy.retries import UPLOAD_BREAKS
from imageferry.copy.retry_budget import RetryBudget
from imageferry.errors import ImageferryError
from imageferry.registry.errors import Unreachable
from imageferry.registry.upload import END_LIMIT
from imageferry.registry.uploads import Upload

logger = logging.getLogger(__name__)

# Pieces (of ``transport.READ_SIZE`` bytes at most) that wait for a destination slower than the source.
PIECES_WAITING = 2

# Seconds in which a destination must take a piece; fewer where it holds others up.
STALL_LIMIT = 60.0
SHARED_STALL_LIMIT = 20.0

# Bytes that a destination must have taken between two stalls: fewer are no progress.
LEAST_PROGRESS = 64 * 1024


class UploadStream:
    """A running upload of ``size`` bytes, written piece by piece.

    ``error`` is set when the destination failed or took nothing for ``STALL_LIMIT``: what is written to it then goes
    nowhere until it is resumed. ``next_offset`` is the first byte that has not been written to it. ``on_sent`` is
    called with the number of bytes that the connection takes.
    """

    def __init__(self, upload: Upload, size: int, on_sent: Callable[[int], None]) -> None:
        self.upload = upload
        self.error: ImageferryError | None = None
        self._on_sent = on_sent
        self._size = size
        self._budget = RetryBudget(UPLOAD_BREAKS)
        self._sending: asyncio.Task[None] | None = None
        self._aborted = self._ended = self._stalled = False
        # The byte at which it broke off last.
        self._broke_at = 0
        # When it began, and for how many seconds others had nothing to send but for it.
        self.begun, self.held_others = time.monotonic(), 0.0
        # Since when it has had nothing to send; None while it has.
        self.idle_since: float | None = None
        self._begin()

    def _begin(self) -> None:
        # The first byte that was not written yet, and the first that the connection has not taken.
        self.next_offset = self._handed = self.upload.offset
        self._cut_off = b""
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(PIECES_WAITING)
        self._sending = None
        self._stalled = False
        self.error = None

    async def write(self, piece: bytes, begins: int, *, alone: bool = True) -> None:
        """Queue what it lacks of the piece that begins at byte ``begins``, and wait while the destination is behind.

        Where it is not ``alone``, others wait with it: then for ``SHARED_STALL_LIMIT`` at most.
        """
        ends = begins + len(piece)
        if self.error is not None or ends <= self.next_offset:
            return
        if begins < self.next_offset:
            piece = piece[self.next_offset - begins :]
        self.next_offset = ends
        if self._sending is None:
            # Not before: a registry closes an upload that brings nothing for long.
            self._sending = asyncio.create_task(self._send())
        if not self._sending.done() and not self._pieces.full():
            self._pieces.put_nowait(piece)
            return
        await self._write_when_free(
            self._sending, piece, STALL_LIMIT if alone else min(STALL_LIMIT, SHARED_STALL_LIMIT)
        )

    async def close(self) -> None:
        """Wait until the destination has taken and answered all that was written, and commit the upload.

        Never raises for the registry: see ``error``.
        """
        sending = self._sending
        try:
            if sending is not None and self.error is None:
                await self._drain(sending)
            if self.error is None:
                await self.upload.commit()
        except ImageferryError as error:
            self.error = error

    async def resume(self) -> bool:
        """Prepare to go on after an error, from ``next_offset``; return False where there is no more to try."""
        await self._stop()
        while self.error is not None and self.error.transient:
            offset = self.upload.offset
            is_drip = self._stalled and offset - self._broke_at < LEAST_PROGRESS
            self._broke_at = offset
            if not self._budget.record_failure(0 if is_drip else offset):
                return False
            logger.info("%s; %d of %d bytes were sent, going on", self.error, self._handed, self._size)
            await self._budget.pause()
            try:
                await self.upload.resume(self._handed, self._size)
            except ImageferryError as error:
                self.error = error
            else:
                self._begin()
                return True
        return False

    async def abort(self) -> None:
        """End the upload: nothing is committed, and the session is cancelled where the registry supports that."""
        if self._aborted or self.upload.committed:
            return
        self._aborted = True
        await self._end_early()
        await self._stop()
        await self.upload.cancel()

    async def _end_early(self) -> None:
        """End the request in order where that is quick: docker/distribution 2.8 drops no session that broke off."""
        if self._sending is None or not self.upload.may_end_early or self.error is not None:
            return
        self._ended = True
        while not self._pieces.empty():
            self._pieces.get_nowait()
        self._pieces.put_nowait(b"")
        await asyncio.wait({self._sending}, timeout=END_LIMIT)

    async def _stop(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait({self._sending})
            if not self._sending.cancelled():
                self._sending.exception()

    async def _write_when_free(self, sending: asyncio.Task[None], piece: bytes, limit: float) -> None:
        putting = asyncio.ensure_future(self._pieces.put(piece))
        try:
            await asyncio.wait({putting, sending}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            taken = putting.done()
        finally:
            putting.cancel()
        if sending.done():
            try:
                await sending
            except ImageferryError as error:
                self.error = error
        elif not taken:
            self._mark_stalled(sending, limit)

    async def _drain(self, sending: asyncio.Task[None]) -> None:
        """Wait until the upload has ended, for as long as it takes bytes, and raise its error."""
        handed = -1
        while not sending.done():
            if self._handed == handed:
                self._mark_stalled(sending, STALL_LIMIT)
                return
            handed = self._handed
            # With the last byte the wait for the answer begins, which the transport bounds.
            await asyncio.wait({sending}, timeout=STALL_LIMIT if handed < self._size else 2 * STALL_LIMIT)
        await sending

    def _mark_stalled(self, sending: asyncio.Task[None], limit: float) -> None:
        self.error = Unreachable(self.upload.action, f"the registry took no data for {limit:.0f} s")
        self._stalled = True
        sending.cancel()

    def leave(self) -> None:
        """Give up feeding it together with others, which wait for it."""
        self.error = LeftBehind(f"{self.upload.action}: it takes bytes far more slowly than the other destinations")
        if self._sending is not None:
            self._sending.cancel()

    async def _send(self) -> None:
        upload = self.upload
        while upload.offset < self._size:
            length = upload.next_length(self._size)
            await upload.send(_Body(self._take(length)), length, self._size)
            if self._handed < upload.offset + length:
                raise Unreachable(upload.action, "it was answered before all bytes were sent")
            upload.took(length)

    async def _take(self, length: int) -> AsyncIterator[bytes]:
        """Yield the next ``length`` bytes; a piece that goes beyond them is cut."""
        while length:
            if not self._cut_off and self._pieces.empty():
                self.idle_since = time.monotonic()
            piece = self._cut_off or await self._pieces.get()
            self.idle_since = None
            if self._ended:
                return
            self._cut_off = b""
            if len(piece) > length:
                piece, self._cut_off = piece[:length], piece[length:]
            # Counted first: with the last byte the registry may answer, and nothing runs after the yield.
            length -= len(piece)
            self._handed += len(piece)
            self._on_sent(len(piece))
            yield piece


class _Body(httpx.AsyncByteStream):
    """A request's body that httpx sends as it comes."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces
