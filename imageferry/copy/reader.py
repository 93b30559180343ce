"""A blob as it comes: read in pieces, hashed as it passes, resumed where it breaks off."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import NoReturn

from imageferry.registry import Descriptor, Repository
from imageferry.registry.errors import BadAnswer, DigestMismatch, RegistryError, Unreachable
from imageferry.words import short

logger = logging.getLogger(__name__)

#: Breaks of a source in a row, without a byte between them, after which it is given up.
BREAKS_IN_A_ROW = 3


class BlobReader:
    """Reads a blob from the first of some repositories that has it, and verifies it.

    Where the connection breaks, reading goes on at the byte where it broke (RFC 9110, 14.2), under the same hash; a
    repository that fails for good is followed by the next one, at the same byte.
    """

    def __init__(self, places: Sequence[Repository], blob: Descriptor) -> None:
        self._place, *self._further = places
        self._blob = blob
        self._hash = hashlib.new(blob.digest.partition(":")[0])
        self.position = 0

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Give the blob's bytes in order, and end only when they are all there and hash to the digest.

        Raises ``DigestMismatch``, ``Unreachable`` and other ``RegistryError``.
        """
        breaks = 0
        while self.position < self._blob.size or not self.position:
            begun_at = self.position
            try:
                async with contextlib.aclosing(self._from(begun_at)) as incoming:
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
                breaks = 1 if self.position > begun_at else breaks + 1
                if not isinstance(error, Unreachable) or breaks >= BREAKS_IN_A_ROW:
                    self._go_elsewhere(error)
                    breaks = 0
                logger.info("%s; going on at byte %d of %s", error, self.position, self._place.name)
        if self._hash.hexdigest() != self._blob.digest.partition(":")[2]:
            self._refuse("its bytes do not hash to its digest")

    def _take(self, piece: bytes) -> None:
        self._hash.update(piece)
        self.position += len(piece)
        if self.position > self._blob.size:
            self._refuse("it is longer than its descriptor says")

    def _go_elsewhere(self, error: RegistryError) -> None:
        if not self._further:
            raise error
        self._place = self._further.pop(0)

    async def _from(self, offset: int) -> AsyncGenerator[bytes, None]:
        async with self._place.blobs.open(self._blob.digest, offset) as answer:
            begins = answer.headers.get("content-range", f"bytes {offset}-")
            if answer.status_code == 206 and not begins.startswith(f"bytes {offset}-"):
                raise BadAnswer(self._action, f"asked for byte {offset} on, {self._place.host} gave {begins}")
            # A registry that does not know ranges starts anew: what is known already is passed over.
            known = offset if answer.status_code == 200 else 0
            with self._place.endpoint.in_words(self._action):
                async for piece in answer.aiter_raw():
                    if known >= len(piece):
                        known -= len(piece)
                        continue
                    yield piece[known:] if known else piece
                    known = 0

    @property
    def _action(self) -> str:
        return f"read blob {short(self._blob.digest)} of {self._place.name}"

    def _refuse(self, reason: str) -> NoReturn:
        raise DigestMismatch(self._action, reason, advice="the source's storage is damaged: push the image there again")
