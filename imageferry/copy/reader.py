"""A blob as it comes: read in pieces, hashed as it passes, resumed where it breaks off."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator
from typing import NoReturn

from imageferry.registry import Descriptor, Repository
from imageferry.registry.errors import DigestMismatch, Unreachable
from imageferry.words import short

logger = logging.getLogger(__name__)

#: Breaks of the source in a row, without a byte between them, after which the blob is given up.
BREAKS_IN_A_ROW = 3


class BlobReader:
    """Reads a blob from its repository and verifies it.

    Where the connection breaks, reading goes on at the byte where it broke (RFC 9110, 14.2), under the same hash.
    """

    def __init__(self, source: Repository, blob: Descriptor) -> None:
        self._source = source
        self._blob = blob
        self._hash = hashlib.new(blob.digest.partition(":")[0])
        self.position = 0

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the blob's bytes in order, and end only when they are all there and hash to the digest.

        Raises ``DigestMismatch``, ``Unreachable`` and other ``RegistryError``.
        """
        breaks = 0
        while True:
            begun_at = self.position
            try:
                async for piece in self._from(self.position):
                    self._hash.update(piece)
                    self.position += len(piece)
                    if self.position > self._blob.size:
                        self._refuse("it is longer than its descriptor says")
                    yield piece
                if self.position == self._blob.size:
                    break
                reason = f"it ended after {self.position:,} of {self._blob.size:,} bytes"
                raise Unreachable(self._action, reason)
            except Unreachable as error:
                breaks = 1 if self.position > begun_at else breaks + 1
                if breaks >= BREAKS_IN_A_ROW:
                    raise
                logger.info("%s; going on at byte %d", error, self.position)
        if self._hash.hexdigest() != self._blob.digest.partition(":")[2]:
            self._refuse("its bytes do not hash to its digest")

    async def _from(self, offset: int) -> AsyncIterator[bytes]:
        async with self._source.blobs.open(self._blob.digest, offset) as answer:
            # A registry that does not know ranges starts anew: what is known already is passed over.
            known = offset if answer.status_code == 200 else 0
            with self._source.endpoint.in_words(self._action):
                async for piece in answer.aiter_raw():
                    if known >= len(piece):
                        known -= len(piece)
                        continue
                    yield piece[known:] if known else piece
                    known = 0

    @property
    def _action(self) -> str:
        return f"read blob {short(self._blob.digest)} of {self._source.name}"

    def _refuse(self, reason: str) -> NoReturn:
        raise DigestMismatch(self._action, reason, advice="the source's storage is damaged: push the image there again")
