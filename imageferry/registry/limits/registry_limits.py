"""What a person allows at one registry: requests at once and per second, bytes per second; shared by a whole run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable

from imageferry.model import Limits
from imageferry.registry.limits.rate import RateLimiter

# Short exchanges under way at one registry at the same time if the user sets no limit.
REQUESTS_AT_ONCE = 32

# The least that is read at once (bytes) under a bandwidth, and how many such pieces a second pass.
SMALLEST_PIECE = 1024
PIECES_PER_SECOND = 8


class RegistryLimits:
    """The user's limits of one registry, at work.

    ``slots`` bound the short exchanges, ``blobs`` the blobs that move (None: only ``--proc`` does), ``requests`` paces
    those that begin. Bytes pass ``download`` when they are read from the registry and ``upload`` when they are sent to
    it; both are empty without a bandwidth. ``piece`` is how many bytes are read at once (None: as many as come).
    """

    def __init__(self, limits: Limits | None = None, run: RateLimiter | None = None, piece: int | None = None) -> None:
        limits = limits or Limits()
        self.slots = asyncio.Semaphore(limits.requests or REQUESTS_AT_ONCE)
        self.blobs = asyncio.Semaphore(limits.requests) if limits.requests else None
        self.requests = RateLimiter(limits.requests_per_second) if limits.requests_per_second else None
        own = (RateLimiter(limits.bandwidth),) if limits.bandwidth else ()
        self.download = (*own, run) if run is not None else own
        self.upload = own
        self.piece = piece or _piece(limiter.rate for limiter in self.download)


class RunLimits:
    """The limits of all registries of a run.

    ``limits_of`` returns the limits of a registry, ``configured`` are all that the user set anywhere, and
    ``bandwidth`` is the run's: bytes a second read from all sources together.
    """

    def __init__(
        self, limits_of: Callable[[str], Limits], configured: Iterable[Limits] = (), bandwidth: int | None = None
    ) -> None:
        self._limits_of = limits_of
        self._run = RateLimiter(bandwidth) if bandwidth else None
        rates = [limits.bandwidth for limits in configured if limits.bandwidth]
        # One size for all: what a fast source delivers, a slow destination must be able to take.
        self._piece = _piece([*rates, bandwidth] if bandwidth else rates)
        self._registries: dict[str, RegistryLimits] = {}

    def of(self, registry: str) -> RegistryLimits:
        """Return the limits of a registry, the same for all who talk to it."""
        if registry not in self._registries:
            self._registries[registry] = RegistryLimits(self._limits_of(registry), self._run, self._piece)
        return self._registries[registry]

    @contextlib.asynccontextmanager
    async def blob(self, registries: Iterable[str]) -> AsyncIterator[None]:
        """Hold a slot for a blob that moves between these registries, at each whose requests are bounded."""
        async with contextlib.AsyncExitStack() as slots:
            # In the same order for all, or two that wait for each other's registry would wait for ever.
            for registry in sorted(set(registries)):
                blobs = self.of(registry).blobs
                if blobs is not None:
                    await slots.enter_async_context(blobs)
            yield


def _piece(rates: Iterable[float]) -> int | None:
    """Return how many bytes are read at once under the slowest rate; None without any."""
    slowest = min(rates, default=None)
    return None if slowest is None else max(SMALLEST_PIECE, int(slowest / PIECES_PER_SECOND))
