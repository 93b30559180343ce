"""The circuit breaker for a rate limit: a host that answers 429, or 503 with ``Retry-After``, is left alone."""

from __future__ import annotations

import random
import time

from imageferry.registry.errors import LimitReached
from imageferry.registry.limits.circuit_breaker import CircuitBreaker
from imageferry.report.waits import Waits, clock

# Seconds that a limit is waited for: by what the registry says, and if it refuses again and again.
LONGEST_WAIT = 900.0
PATIENCE_WITH_LIMIT = 300.0

# The longest pause (seconds) after a refusal that does not say how long.
LONGEST_BACKOFF = 60.0


class RateLimitHold(CircuitBreaker):
    """Holds the requests of one class, and of the heavier ones, at a host that refuses that class."""

    why = "its request limit is reached"

    def __init__(self, registry: str, waits: Waits) -> None:
        super().__init__(registry, waits)
        self._refusals = 0

    def record_refusal(self, asked: float | None, sent_at: float) -> None:
        """Hold for as long as the registry asks for (seconds; None: it does not say), else exponentially longer.

        ``sent_at`` is when the refused request was sent, on ``clock``. Raises ``LimitReached`` if that is too long.
        """
        if not self.is_open or sent_at >= self.tripped_at:
            self._refusals += 1
        elif asked is None:
            # It was under way when another one was refused: both met the same limit.
            return
        if asked is None:
            span = min(0.5 * 2 ** (self._refusals - 1), LONGEST_BACKOFF)
            asked = random.uniform(0.5, 1.0) * span  # noqa: S311 - jitter, not a secret
        lasts = self.is_open and self.clock() - self.opened_at >= PATIENCE_WITH_LIMIT
        self.trip(asked, for_good=asked > LONGEST_WAIT or lasts)
        if asked > LONGEST_WAIT:
            raise self.refusal()

    @property
    def seconds_left(self) -> float:
        """Seconds until the next request is tried."""
        return self.open_until - self.clock()

    def refusal(self) -> LimitReached:
        """Return the error that says until when."""
        seconds = self.seconds_left
        until = clock(time.time() + seconds, with_day=seconds > 12 * 3600)
        reason = f"its request limit is reached, and is not tried again before {until}"
        advice = "run again then, or use an account with a higher limit"
        return LimitReached(f"ask {self.registry}", reason, advice=advice, status=429)
