"""A rate limiter without bursts: so many units a second, requests or bytes, each in its turn."""

from __future__ import annotations

import asyncio
import time


class RateLimiter:
    """Spreads what passes evenly: who comes early waits for its turn.

    ``rate`` is in units a second. Units are counted, never held: no byte is copied or kept for it.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._next = 0.0

    def reserve(self, units: float = 1.0) -> float:
        """Take the next turn, for so many units; return the seconds until it begins."""
        now = time.monotonic()
        begins = max(self._next, now)
        self._next = begins + units / self.rate
        return begins - now

    async def acquire(self, units: float = 1.0) -> None:
        """Take the next turn, for so many units, and wait for it."""
        delay = self.reserve(units)
        if delay > 0:
            await asyncio.sleep(delay)
