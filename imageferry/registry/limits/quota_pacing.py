"""Quota pacing: what is left of a request limit is spread over the time that it must last."""

from __future__ import annotations

import asyncio
import math

from imageferry.registry.limits.circuit_breaker import CircuitBreaker
from imageferry.registry.limits.quota import Quota
from imageferry.registry.limits.rate import RateLimiter
from imageferry.report.waits import Waits


class QuotaPacing:
    """Paces the requests of one class to one host by ``quota``, which each answer renews."""

    def __init__(self, registry: str, waits: Waits) -> None:
        self._registry, self._waits = registry, waits
        # Counts seconds, not requests: each takes the interval that the quota had when it came.
        self._turns = RateLimiter(1.0)
        self._interval = 0.0
        self._ends = -math.inf

    def renew(self, quota: Quota) -> None:
        """Go on by what the registry says now."""
        self._interval = quota.interval
        self._ends = CircuitBreaker.clock() + quota.seconds

    def end(self) -> None:
        """Let those go that wait: there is plenty again."""
        self._ends = -math.inf

    @property
    def is_over(self) -> bool:
        """Whether the quota's window has passed."""
        return CircuitBreaker.clock() > self._ends

    async def wait(self) -> None:
        """Wait for one's turn."""
        if self.is_over:
            return
        begins = CircuitBreaker.clock() + self._turns.reserve(self._interval)
        while (rest := begins - CircuitBreaker.clock()) > 0 and not self.is_over:
            self._waits.add(self._registry, rest, "its request limit is nearly used up")
            # Looked at again every second: with the next window there is plenty.
            await asyncio.sleep(min(rest, 1.0))
