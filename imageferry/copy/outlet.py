"""One destination of a blob that is under way: its pieces wait here until its upload takes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx

from imageferry.errors import ImageferryError
from imageferry.registry.errors import Unreachable
from imageferry.registry.uploads import Upload

#: Pieces (of ``transport.READ_SIZE`` bytes at most) that wait for a destination slower than the source.
PIECES_WAITING = 2

#: Seconds in which a destination must take a piece.
STALL_LIMIT = 60.0


class Outlet:
    """A running upload of ``size`` bytes, fed piece by piece.

    ``error`` is set when the destination failed or took nothing for ``STALL_LIMIT``: it has dropped out, and what is
    given to it goes nowhere. ``on_sent`` is told of the bytes that it took.
    """

    def __init__(self, upload: Upload, size: int, on_sent: Callable[[int], None]) -> None:
        self.upload = upload
        self.error: ImageferryError | None = None
        self._on_sent = on_sent
        self._size = size
        self._handed = 0
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(PIECES_WAITING)
        self._sending = asyncio.create_task(upload.patch(_Body(self._taken()), size))

    async def give(self, piece: bytes) -> None:
        """Hand on a piece, and wait while the destination is behind."""
        if self.error is None and not self._sending.done() and not self._pieces.full():
            self._pieces.put_nowait(piece)
            return
        await self._give_patiently(piece)

    async def finish(self) -> None:
        """Say that there is no more, and wait until the destination has answered."""
        await self._give_patiently(None)
        if self.error is None:
            await self._settle()

    async def drop(self) -> None:
        """Break the upload off: nothing is committed, and the session is cancelled where the registry lets one."""
        self._sending.cancel()
        await asyncio.wait({self._sending})
        if not self._sending.cancelled():
            self._sending.exception()
        await self.upload.cancel()

    async def _give_patiently(self, piece: bytes | None) -> None:
        if self.error is not None:
            return
        giving = asyncio.ensure_future(self._pieces.put(piece))
        try:
            await asyncio.wait({giving, self._sending}, timeout=STALL_LIMIT, return_when=asyncio.FIRST_COMPLETED)
            taken = giving.done()
        finally:
            giving.cancel()
        if self._sending.done():
            await self._settle()
        elif not taken:
            self.error = Unreachable(self.upload.action, f"the registry took no data for {STALL_LIMIT:.0f} s")
            self._sending.cancel()

    async def _settle(self) -> None:
        try:
            await self._sending
        except ImageferryError as error:
            self.error = error
        else:
            # A registry that has all bytes answers, though the end was not given yet: that is well.
            if self._handed < self._size:
                self.error = Unreachable(self.upload.action, "it was answered before all bytes were sent")

    async def _taken(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            # Counted first: with the last byte the registry may answer, and nothing runs after the yield.
            self._handed += len(piece)
            self._on_sent(len(piece))
            yield piece


class _Body(httpx.AsyncByteStream):
    """A request's body that httpx sends as it comes."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces
