"""How often a transfer that breaks off goes on: a bounded number of times, counted anew with each progress."""

from __future__ import annotations

import asyncio
import random

from imageferry.copy.retries import FIRST_PAUSE


class RetryBudget:
    """Allows fewer than ``breaks`` breaks in a row without progress. ``position`` is the byte at which it begins."""

    def __init__(self, breaks: int, position: int = 0) -> None:
        self._limit = breaks
        self._farthest = position
        self._breaks = 0

    def record_failure(self, position: int) -> bool:
        """Count a break at byte ``position``; return whether to go on.

        Only a byte beyond all that were reached before is progress.
        """
        self._breaks = 1 if position > self._farthest else self._breaks + 1
        self._farthest = max(self._farthest, position)
        return self._breaks < self._limit

    async def pause(self) -> None:
        """Wait, unless the last attempt made progress."""
        if self._breaks > 1:
            jitter = random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
            await asyncio.sleep(FIRST_PAUSE * 2 ** (self._breaks - 2) * jitter)
