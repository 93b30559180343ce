"""What a person allows at one registry: requests at once and per second, bytes per second; shared by a whole run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

import httpx
from httpx_aiohttp.transport import AiohttpResponseStream

from imageferry.model import Configuration, Limits
from imageferry.registry.limits.rate import RateLimiter

#: Short exchanges under way at one registry at the same time where nothing is said.
REQUESTS_AT_ONCE = 32

#: The least that is read at once (bytes) where bytes are paced, and how many such pieces a second pass.
SMALLEST_PIECE = 1024
PIECES_PER_SECOND = 8


class RegistryLimits:
    """The limits of one registry while they are at work.

    ``slots`` bound the short exchanges, ``blobs`` the blobs that move (None: only ``--proc`` does), ``requests`` paces
    those that begin. Bytes pass ``download`` when they are read from it and ``upload`` when they are sent to it; both
    are empty where nothing is set.
    """

    def __init__(self, limits: Limits | None = None, run: RateLimiter | None = None, piece: int | None = None) -> None:
        limits = limits or Limits()
        self.slots = asyncio.Semaphore(limits.requests or REQUESTS_AT_ONCE)
        self.blobs = asyncio.Semaphore(limits.requests) if limits.requests else None
        self.requests = RateLimiter(limits.requests_per_second) if limits.requests_per_second else None
        own = (RateLimiter(limits.bandwidth),) if limits.bandwidth else ()
        self.download = (*own, run) if run is not None else own
        self.upload = own
        self._piece = piece or _piece(pace.rate for pace in self.download)

    def slow_down(self, response: httpx.Response) -> None:
        """Let the body of an answer come no faster than it may; one that may come as it will is left as it is."""
        if self._piece is not None and isinstance(response.stream, AiohttpResponseStream):
            # A piece of the usual size would come once a minute, and time-outs would take that for silence.
            response.stream.CHUNK_SIZE = min(response.stream.CHUNK_SIZE, self._piece)
            if self.download:
                response.stream = PacedDownload(response.stream, self.download)


class PacedDownload(httpx.AsyncByteStream):
    """The body of an answer, whose pieces wait for their turn."""

    def __init__(self, stream: httpx.AsyncByteStream, paces: tuple[RateLimiter, ...]) -> None:
        self._stream, self._paces = stream, paces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            for pace in self._paces:
                await pace.acquire(len(piece))
            yield piece

    async def aclose(self) -> None:
        """Close the body."""
        await self._stream.aclose()


class RunLimits:
    """Those of a run. ``bandwidth`` is that of the run: bytes a second read from all sources together."""

    def __init__(self, configuration: Configuration, bandwidth: int | None = None) -> None:
        self._configuration = configuration
        self._run = RateLimiter(bandwidth) if bandwidth else None
        rates = [limits.bandwidth for limits in configuration.registries.values() if limits.bandwidth]
        # One size for all: what a fast source gives, a slow destination must be able to take.
        self._piece = _piece([*rates, bandwidth] if bandwidth else rates)
        self._throttles: dict[str, RegistryLimits] = {}

    def of(self, registry: str) -> RegistryLimits:
        """Give the throttle of a registry, the same for all who talk to it."""
        if registry not in self._throttles:
            limits = self._configuration.settings_of(registry)
            self._throttles[registry] = RegistryLimits(limits, self._run, self._piece)
        return self._throttles[registry]

    @contextlib.asynccontextmanager
    async def blob(self, registries: Iterable[str]) -> AsyncIterator[None]:
        """Hold a place for a blob that moves between these registries, where their requests are bounded."""
        async with contextlib.AsyncExitStack() as places:
            # In one order for all, or two that wait for each other's registry would wait for ever.
            for registry in sorted(set(registries)):
                bound = self.of(registry).blobs
                if bound is not None:
                    await places.enter_async_context(bound)
            yield


def _piece(rates: Iterable[float]) -> int | None:
    """Give how many bytes are read at once, by the slowest rate; None where there is none."""
    slowest = min(rates, default=None)
    return None if slowest is None else max(SMALLEST_PIECE, int(slowest / PIECES_PER_SECOND))
