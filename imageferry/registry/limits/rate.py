"""So many units a second, each in its turn: requests, or bytes."""

from __future__ import annotations

import asyncio
import time


class RateLimiter:
    """Spreads what passes evenly: who comes early waits for the time that its place in the line has.

    ``rate`` is in units a second. Units are counted, never held: no byte is copied or kept for it.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._next = 0.0

    def reserve(self, units: float = 1.0) -> float:
        """Take the next place in the line for so many units; give the seconds until it begins."""
        now = time.monotonic()
        begins = max(self._next, now)
        self._next = begins + units / self.rate
        return begins - now

    async def acquire(self, units: float = 1.0) -> None:
        """Wait for one's turn, and take it."""
        delay = self.reserve(units)
        if delay > 0:
            await asyncio.sleep(delay)
