"""How often something that breaks is begun again: bounded, and counted from zero with each progress."""

from __future__ import annotations

import asyncio
import random

#: Seconds before another attempt where the one before brought no byte; doubled with each further one.
FIRST_PAUSE = 1.0


class RetryBudget:
    """Allows ``breaks`` in a row without a byte between them; ``position`` is the byte at which it began."""

    def __init__(self, breaks: int, position: int = 0) -> None:
        self._limit = breaks
        self._farthest = position
        self._breaks = 0

    def broke(self, position: int) -> bool:
        """Note a break at a byte, and say whether to go on. Only what lies beyond all before is progress."""
        self._breaks = 1 if position > self._farthest else self._breaks + 1
        self._farthest = max(self._farthest, position)
        return self._breaks < self._limit

    async def pause(self) -> None:
        """Wait, unless the last attempt made progress."""
        if self._breaks > 1:
            jitter = random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
            await asyncio.sleep(FIRST_PAUSE * 2 ** (self._breaks - 2) * jitter)
