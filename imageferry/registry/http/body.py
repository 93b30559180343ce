"""Bodies of requests and responses: read up to a bound, or paced by a bandwidth."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
from httpx_aiohttp.transport import AiohttpResponseStream

from imageferry.registry.http.patience import LeastRateBody
from imageferry.registry.limits.rate import RateLimiter
from imageferry.registry.limits.registry_limits import RegistryLimits


def is_replayable(request: httpx.Request) -> bool:
    """Whether the request's body is in memory, so that it can be sent a second time."""
    return isinstance(request.stream, httpx.ByteStream)


class PacedUploadBody(httpx.AsyncByteStream):
    """A streamed request body, sent no faster than ``rates`` (bytes a second) allow.

    ``begun``: some was taken. ``when_sent`` is called when all of it was.
    """

    def __init__(self, stream: Any, rates: tuple[RateLimiter, ...]) -> None:
        self.begun = False
        self.when_sent: Callable[[], None] = _do_nothing
        self._stream, self._rates = stream, rates

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun = True
        async for piece in self._stream:
            for rate in self._rates:
                await rate.acquire(len(piece))
            yield piece
        self.when_sent()


def _do_nothing() -> None:
    pass


class PacedDownload(httpx.AsyncByteStream):
    """A response body, read no faster than ``rates`` (bytes a second) allow."""

    def __init__(self, stream: httpx.AsyncByteStream, rates: tuple[RateLimiter, ...]) -> None:
        self._stream, self._rates = stream, rates

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            for rate in self._rates:
                await rate.acquire(len(piece))
            yield piece

    async def aclose(self) -> None:
        """Close the body."""
        await self._stream.aclose()


def pace_download(response: httpx.Response, limits: RegistryLimits) -> None:
    """Bound how fast the body of a response is read, and how slowly it may come."""
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    response.stream = LeastRateBody(stream)
    if limits.piece is not None and isinstance(stream, AiohttpResponseStream):
        # A piece of the usual size would take a minute, and time-outs would take that for silence.
        stream.CHUNK_SIZE = min(stream.CHUNK_SIZE, limits.piece)
        if limits.download:
            response.stream = PacedDownload(response.stream, limits.download)


async def read_bounded(response: httpx.Response, limit: int) -> httpx.Response:
    """Return the response with its body in memory, cut beyond ``limit`` bytes, and release its connection."""
    if response.is_closed:
        return response
    body = bytearray()
    try:
        async for piece in response.stream:  # type: ignore[union-attr]
            body += piece
            if len(body) > limit:
                break
    finally:
        await response.aclose()
    headers = response.headers.copy()
    content = _decompress(bytes(body), headers.pop("content-encoding", ""), limit)
    whole = httpx.Response(response.status_code, headers=headers, content=content, extensions=response.extensions)
    with contextlib.suppress(RuntimeError):
        # A response that has not passed the client yet has no request.
        whole.request = response.request
    return whole


def _decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo gzip, which some servers send unasked, up to the limit: a small body must not grow to fill the memory."""
    if encoding.strip().lower() not in ("gzip", "x-gzip"):
        return body
    try:
        return zlib.decompressobj(wbits=31).decompress(body, limit + 1)
    except zlib.error:
        return body
