"""Undoing the content coding of an answer (RFC 9110, section 8.4), in pieces of bounded size."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping

# The most bytes of one piece, however much a compressed one grows.
PIECE = 1024 * 1024

# Window bits of zlib: gzip, and zlib's own format, which HTTP calls deflate.
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def content_coding(headers: Mapping[str, str]) -> str:
    """Return the coding of an answer, in lower case; empty for none."""
    coding = headers.get("content-encoding", "").strip().lower()
    return "" if coding == "identity" else coding


def can_decode(coding: str) -> bool:
    """Whether ``decode`` knows a coding."""
    return coding in _WINDOW_BITS


async def decode(pieces: AsyncIterator[bytes], coding: str) -> AsyncGenerator[bytes, None]:
    """Yield what the pieces of an answer were before they were encoded. Raises ``zlib.error``."""
    decoder = zlib.decompressobj(_WINDOW_BITS[coding])
    async for piece in pieces:
        rest = piece
        while rest:
            for decoded in _inflate(decoder, rest):
                yield decoded
            # Gzip may be several streams, one after the other.
            rest = decoder.unused_data
            if decoder.eof:
                decoder = zlib.decompressobj(_WINDOW_BITS[coding])


def _inflate(decoder: zlib._Decompress, piece: bytes) -> Iterator[bytes]:
    while piece and not decoder.eof:
        decoded = decoder.decompress(piece, PIECE)
        if decoded:
            yield decoded
        piece = decoder.unconsumed_tail
        if not decoded:
            return
