"""Reading a blob: in pieces, hashed as they pass, resumed where the connection breaks."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import hashlib
import logging
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

import httpx

from imageferry.copy.content_coding import can_decode, content_coding, decode
from imageferry.copy.retries import READ_BREAKS
from imageferry.copy.retry_budget import RetryBudget
from imageferry.registry import Descriptor, Repository
from imageferry.registry.errors import DigestMismatch, InvalidResponse, RegistryError, TooSlow, Unreachable
from imageferry.text import short_digest

if TYPE_CHECKING:
    from hashlib import _Hash

logger = logging.getLogger(__name__)

# The least distance (bytes) between two states of the hash that are kept, and the most that are kept for one blob.
CHECKPOINT_SPACING = 1024 * 1024
CHECKPOINTS = 4096

# Seconds of waiting for a source after which one that gives fewer bytes a second is left, if there is another.
SLOW_AFTER = 10.0
SLOW_RATE = 64 * 1024

# Seconds between two looks at the pace of a source that gives nothing.
LOOK_EVERY = 1.0


class HashCheckpoints:
    """States of a blob's hash as it was read, from which a later reading goes on in the middle of the blob."""

    def __init__(self, blob: Descriptor) -> None:
        self._spacing = max(CHECKPOINT_SPACING, blob.size // CHECKPOINTS)
        self._positions = [0]
        self._states = [hashlib.new(blob.digest.partition(":")[0])]

    def save(self, position: int, state: _Hash) -> None:
        """Keep the hash of the bytes before ``position``, where the last one kept is far enough behind."""
        if position >= self._positions[-1] + self._spacing:
            self._positions.append(position)
            self._states.append(state.copy())

    def restore(self, offset: int) -> tuple[int, _Hash]:
        """Return the last position at or before ``offset`` and a hash of all before it; forget those after it."""
        kept = bisect.bisect_right(self._positions, offset)
        del self._positions[kept:], self._states[kept:]
        return self._positions[-1], self._states[-1].copy()


class CodingMistaken(RegistryError):
    """What was read hashes to nothing, and its content coding was perhaps taken for what it is not.

    ``decoded`` says whether it was undone: it is to be read again the other way.
    """

    def __init__(self, action: str, reason: str, *, decoded: bool) -> None:
        super().__init__(action, reason)
        self.decoded = decoded


class _Outpaced(Unreachable):
    """A source gives so few bytes that another is asked for the rest."""


class BlobReader:
    """Reads a blob from the first of some repositories that has it, and verifies it.

    Where the connection breaks, reading goes on at the byte where it broke (RFC 9110, section 14.2), under the same
    hash; a repository that fails for good is followed by the next one, at the same byte, among the first ``given`` of
    the ``sources``. These may grow: the others are read from where those before them are slow. With ``checkpoints`` of
    an earlier reading it begins at the last of them before the byte ``begin``, under that one's hash. ``decoded`` says
    whether the content coding of answers is undone; None: as it seems right.
    """

    clock: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(
        self,
        sources: Sequence[Repository],
        blob: Descriptor,
        begin: int = 0,
        checkpoints: HashCheckpoints | None = None,
        *,
        given: int | None = None,
        decoded: bool | None = None,
    ) -> None:
        self._sources = sources
        self._given = given or len(sources)
        self._blob = blob
        self._checkpoints = checkpoints or HashCheckpoints(blob)
        self.position, self._hash = self._checkpoints.restore(begin)
        self._wanted = decoded
        # The coding of the answer that is read, and whether it is undone.
        self._coding, self._decoded = "", False
        self._begin_at(0)

    def _begin_at(self, number: int) -> None:
        """Read from one of the sources now."""
        self._number, self._source = number, self._sources[number]
        self._budget = RetryBudget(READ_BREAKS, self.position)
        # It goes on in the middle of the blob, as far as is known.
        self._ranges = True
        # Seconds that were waited for it, and the byte at which they began.
        self._waited, self._waited_from = 0.0, self.position

    @property
    def _has_another(self) -> bool:
        return self._number + 1 < len(self._sources)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the blob's bytes in order; the last of them only when they are all there and hash to the digest.

        Raises ``DigestMismatch``, ``CodingMistaken``, ``Unreachable`` and other ``RegistryError``.
        """
        while self.position < self._blob.size or not self.position:
            try:
                async with contextlib.aclosing(self._read_from(self.position)) as incoming:
                    async for piece in incoming:
                        self._take(piece)
                        yield piece
                if self.position == self._blob.size:
                    break
                reason = f"it ended after {self.position:,} of {self._blob.size:,} bytes"
                if self._coding and not self._decoded:
                    self._reject(reason)
                raise Unreachable(self._action, reason)
            except (DigestMismatch, CodingMistaken):
                raise
            except RegistryError as error:
                if 0 < self.position == self._blob.size:
                    break
                await self._recover(error)
        if not self._blob.size:
            self._verify()

    def _take(self, piece: bytes) -> None:
        self._hash.update(piece)
        self.position += len(piece)
        if self.position > self._blob.size:
            self._reject("it is longer than its descriptor says")
        if self.position == self._blob.size:
            self._verify()
        else:
            self._checkpoints.save(self.position, self._hash)

    def _verify(self) -> None:
        if self._hash.hexdigest() != self._blob.digest.partition(":")[2]:
            self._reject("its bytes do not hash to its digest")
        if self._coding:
            self._source.client.blob_dialect.decoded = self._decoded

    async def _recover(self, error: RegistryError) -> None:
        """Prepare to go on after a break, at the same repository or the next; raise the error where there is none."""
        # A registry that is busy in the middle of a blob is waited for; one that sends none of it is left.
        is_final = not error.transient or not (isinstance(error, Unreachable) or self.position)
        # The bytes of one that is too slow are no progress, or it could go on for ever.
        progress = 0 if isinstance(error, TooSlow) else self.position
        if isinstance(error, _Outpaced) or is_final or not self._budget.record_failure(progress):
            if self._number + 1 >= (len(self._sources) if isinstance(error, _Outpaced) else self._given):
                raise error
            self._begin_at(self._number + 1)
        elif error.status == 500:
            # Perhaps for the range alone.
            self._ranges = False
        logger.info("%s; going on at byte %d of %s", error, self.position, self._source.name)
        await self._budget.pause()

    async def _read_from(self, offset: int) -> AsyncGenerator[bytes, None]:
        async with self._source.blobs.open(self._blob.digest, offset if self._ranges else 0) as answer:
            self._begin_answer(answer, offset)
            # A registry that does not support ranges sends the blob from its start: what is known is skipped.
            known = offset if answer.status_code == 200 else 0
            incoming = self._watch(answer.aiter_raw())
            async with contextlib.aclosing(decode(incoming, self._coding) if self._decoded else incoming) as pieces:
                with self._source.client.translate_errors(self._action), self._translate_coding():
                    async for piece in pieces:
                        if known >= len(piece):
                            known -= len(piece)
                            continue
                        yield piece[known:] if known else piece
                        known = 0

    def _begin_answer(self, answer: httpx.Response, offset: int) -> None:
        """Look at the head of an answer. Raises ``InvalidResponse``, or ``Unreachable`` to ask once more."""
        begins = answer.headers.get("content-range", f"bytes {offset}-")
        if answer.status_code == 206 and not begins.startswith(f"bytes {offset}-"):
            raise InvalidResponse(self._action, f"asked for byte {offset} on, {self._source.host} gave {begins}")
        self._coding = content_coding(answer.headers)
        self._decoded = False
        if not self._coding:
            return
        # The range of what is encoded is not that of what was.
        self._ranges = False
        if answer.status_code == 206:
            raise Unreachable(self._action, "it is encoded, so that no part of it can be read")
        if can_decode(self._coding):
            length = answer.headers.get("content-length")
            if self._wanted is not None:
                self._decoded = self._wanted
            elif length is not None:
                self._decoded = length != str(self._blob.size)
            else:
                self._decoded = self._source.client.blob_dialect.decoded

    async def _watch(self, incoming: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Yield what comes. Raises ``_Outpaced`` where it is less than another source should give."""
        loop = asyncio.get_running_loop()
        left = False
        reading: asyncio.Task[object] | None = None
        begun = 0.0
        timers: list[asyncio.TimerHandle] = []

        def look() -> None:
            nonlocal left
            if reading is not None and self._is_slow(self.clock() - begun):
                left = reading.cancel()
            else:
                timers[:] = [loop.call_later(LOOK_EVERY, look)]

        timers.append(loop.call_later(LOOK_EVERY, look))
        try:
            while True:
                reading, begun = asyncio.current_task(), self.clock()
                try:
                    piece = await anext(incoming, None)
                except asyncio.CancelledError:
                    if left and reading is not None and reading.uncancel() <= 0:
                        came = self.position - self._waited_from
                        raise _Outpaced(self._action, f"only {came:,} bytes came in {self._waited:.0f} s") from None
                    raise
                finally:
                    self._waited += self.clock() - begun
                reading = None
                if piece is None:
                    return
                yield piece
        finally:
            for timer in timers:
                timer.cancel()

    def _is_slow(self, waiting: float) -> bool:
        """Whether another source should be asked for the rest. ``waiting``: seconds that the next piece has taken."""
        waited = self._waited + waiting
        if not self._has_another or waited < SLOW_AFTER:
            return False
        if self.position - self._waited_from < SLOW_RATE * waited:
            return True
        self._waited, self._waited_from = 0.0, self.position
        return False

    @contextlib.contextmanager
    def _translate_coding(self) -> Iterator[None]:
        try:
            yield
        except zlib.error as error:
            self._reject(f"its {self._coding} is damaged: {error}")

    @property
    def _action(self) -> str:
        return f"read blob {short_digest(self._blob.digest)} of {self._source.name}"

    def _reject(self, reason: str) -> NoReturn:
        if self._coding and can_decode(self._coding) and self._wanted is None:
            raise CodingMistaken(self._action, reason, decoded=self._decoded)
        if self._coding:
            reason += f", though it came encoded as {self._coding}, which was not asked for"
        raise DigestMismatch(self._action, reason, advice="the source's storage is damaged: push the image there again")
