"""Reading a blob: in pieces, hashed as they pass, resumed where the connection breaks."""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, NoReturn

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


class BlobReader:
    """Reads a blob from the first of some repositories that has it, and verifies it.

    Where the connection breaks, reading goes on at the byte where it broke (RFC 9110, section 14.2), under the same
    hash; a repository that fails for good is followed by the next one, at the same byte. With ``checkpoints`` of an
    earlier reading it begins at the last of them before the byte ``begin``, under that one's hash.
    """

    def __init__(
        self,
        sources: Sequence[Repository],
        blob: Descriptor,
        begin: int = 0,
        checkpoints: HashCheckpoints | None = None,
    ) -> None:
        self._source, *self._fallbacks = sources
        self._blob = blob
        self._checkpoints = checkpoints or HashCheckpoints(blob)
        self.position, self._hash = self._checkpoints.restore(begin)
        self._budget = RetryBudget(READ_BREAKS, self.position)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the blob's bytes in order; the last of them only when they are all there and hash to the digest.

        Raises ``DigestMismatch``, ``Unreachable`` and other ``RegistryError``.
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
                raise Unreachable(self._action, reason)
            except DigestMismatch:
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

    async def _recover(self, error: RegistryError) -> None:
        """Prepare to go on after a break, at the same repository or the next; raise the error where there is none."""
        # A registry that is busy in the middle of a blob is waited for; one that sends none of it is left.
        is_final = not error.transient or not (isinstance(error, Unreachable) or self.position)
        # The bytes of one that is too slow are no progress, or it could go on for ever.
        if is_final or not self._budget.record_failure(0 if isinstance(error, TooSlow) else self.position):
            if not self._fallbacks:
                raise error
            self._source = self._fallbacks.pop(0)
            self._budget = RetryBudget(READ_BREAKS, self.position)
        logger.info("%s; going on at byte %d of %s", error, self.position, self._source.name)
        await self._budget.pause()

    async def _read_from(self, offset: int) -> AsyncGenerator[bytes, None]:
        async with self._source.blobs.open(self._blob.digest, offset) as answer:
            begins = answer.headers.get("content-range", f"bytes {offset}-")
            if answer.status_code == 206 and not begins.startswith(f"bytes {offset}-"):
                raise InvalidResponse(self._action, f"asked for byte {offset} on, {self._source.host} gave {begins}")
            # A registry that does not support ranges sends the blob from its start: what is known is skipped.
            known = offset if answer.status_code == 200 else 0
            with self._source.client.translate_errors(self._action):
                async for piece in answer.aiter_raw():
                    if known >= len(piece):
                        known -= len(piece)
                        continue
                    yield piece[known:] if known else piece
                    known = 0

    @property
    def _action(self) -> str:
        return f"read blob {short_digest(self._blob.digest)} of {self._source.name}"

    def _reject(self, reason: str) -> NoReturn:
        raise DigestMismatch(self._action, reason, advice="the source's storage is damaged: push the image there again")
