"""How often a transfer that breaks off goes on: a bounded number of times, counted anew with each progress.

A few bytes between two breaks are progress for a minute of waiting at most: after that they must have come at the rate
that is asked of one connection.
"""

from __future__ import annotations

import asyncio
import random

from imageferry.copy.retries import FIRST_PAUSE
from imageferry.registry.http.patience import LEAST_RATE, RATE_WINDOW


class RetryBudget:
    """Allows fewer than ``breaks`` breaks in a row without progress. ``position`` is the byte at which it begins."""

    def __init__(self, breaks: int, position: int = 0) -> None:
        self._limit = breaks
        self._farthest = position
        self._breaks = 0
        # The byte and the seconds of waiting at which the rate was enough last.
        self._judged_at, self._judged_after = position, 0.0
        self.is_slow = False

    def record_failure(self, position: int, waited: float = 0.0) -> bool:
        """Count a break at byte ``position``; return whether to go on.

        Only a byte beyond all that were reached before is progress. ``waited`` are the seconds that the other side was
        waited for up to there, since it began: less than ``LEAST_RATE`` over a minute of them is none.
        """
        waiting = waited - self._judged_after
        if waiting >= RATE_WINDOW:
            self.is_slow = position - self._judged_at < LEAST_RATE * waiting
            if not self.is_slow:
                self._judged_at, self._judged_after = position, waited
        self._breaks = 1 if position > self._farthest and not self.is_slow else self._breaks + 1
        self._farthest = max(self._farthest, position)
        return self._breaks < self._limit

    async def pause(self) -> None:
        """Wait, unless the last attempt made progress."""
        if self._breaks > 1:
            jitter = random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
            await asyncio.sleep(FIRST_PAUSE * 2 ** (self._breaks - 2) * jitter)
