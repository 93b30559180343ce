"""The circuit breaker for a rate limit: a host that answers 429, or 503 with ``Retry-After``, is left alone."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass

from imageferry.registry.errors import LimitReached
from imageferry.registry.limits.circuit_breaker import CircuitBreaker
from imageferry.report.waits import Waits, clock

# Seconds that a limit is waited for: by what the registry says, and if it refuses again and again.
LONGEST_WAIT = 900.0
PATIENCE_WITH_LIMIT = 300.0

# The longest pause (seconds) after a refusal that does not say how long.
LONGEST_BACKOFF = 60.0

# Requests for what has not been refused that go ahead, one after the other, when nobody waits any longer: where the
# registry has refused for minutes, and where it says itself that it will.
FRESH_PROBES = 8
FRESH_PROBES_IF_LONG = 2

# Refusals of one address, others answered before each, after which they no longer speak for the host; and refusals in a
# row after which the address is given up, but for one request in so many seconds.
REFUSED_APART = 2
ADDRESS_GIVEN_UP = 48
ASK_AGAIN = 60.0

# Addresses that are remembered to be refused.
ADDRESSES = 10_000


@dataclass(slots=True)
class _RefusedAddress:
    """An address that was refused at each of the last ``tries``, at ``apart`` of them after others were answered."""

    refused_at: float
    tries: int = 0
    apart: int = 0
    ask_again: float = 0.0


class RefusedAddresses:
    """Tells a host's limit from an object that is always refused: the limit refuses others as well.

    It is about one class of requests. What is answered counts if it is of a class that the limit would have held.
    """

    def __init__(self, registry: str) -> None:
        self._registry = registry
        self._addresses: dict[str, _RefusedAddress] = {}
        self._answered_at = -math.inf

    def record_refusal(self, address: str) -> bool:
        """Count a refusal; return whether it is the address's own, and says nothing of the host's limit."""
        now = CircuitBreaker.clock()
        refused = self._addresses.get(address)
        if refused is None:
            if len(self._addresses) >= ADDRESSES:
                del self._addresses[next(iter(self._addresses))]
            refused = self._addresses[address] = _RefusedAddress(now)
        elif self._answered_at >= refused.refused_at:
            refused.apart += 1
        refused.tries += 1
        refused.refused_at, refused.ask_again = now, now + ASK_AGAIN
        return refused.apart >= REFUSED_APART

    def record_answer(self, address: str, sent_at: float) -> None:
        """Note that a request was answered that was sent at ``sent_at`` (on the breakers' clock)."""
        self._addresses.pop(address, None)
        self._answered_at = max(self._answered_at, sent_at)

    def check(self, address: str) -> None:
        """Raise ``LimitReached`` for an address that is given up, but for one request now and then."""
        refused = self._addresses.get(address)
        if refused is None or refused.tries < ADDRESS_GIVEN_UP or refused.apart < REFUSED_APART:
            return
        now = CircuitBreaker.clock()
        if now < refused.ask_again:
            # The path alone: a query may hold a secret.
            reason = f"it is refused {refused.tries} times in a row, though others are answered"
            raise LimitReached(f"ask {self._registry} for {address.split(' ')[1]}", reason, status=429)
        refused.ask_again = now + ASK_AGAIN

    def __bool__(self) -> bool:
        return bool(self._addresses)


class RateLimitHold(CircuitBreaker):
    """Holds the requests of one class, and of the heavier ones, at a host that refuses that class.

    Its probe is one for an address that was not refused, if such a request waits: whether the limit holds for
    everything is what is to be found out.
    """

    def __init__(self, registry: str, waits: Waits) -> None:
        super().__init__(registry, waits)
        self._refusals = 0
        self._status = 429
        # What was refused since it opened; how many requests for other things wait, and may still go ahead.
        self._refused: set[str] = set()
        self._others_waiting = 0
        self._fresh_probes = FRESH_PROBES

    async def wait_for_turn(self, address: str, *, patient: bool = True) -> bool:
        """Wait until a request for an address may go: see ``wait_while_open``."""
        if not self.is_open:
            return False
        is_other = address not in self._refused
        self._others_waiting += is_other
        try:
            is_probe = await self.wait_while_open(
                patient=patient,
                fresh=lambda: self.open_for_good and self._fresh_probes > 0 and address not in self._refused,
                gives_way=lambda: not is_other and self._others_waiting > 0,
            )
        finally:
            self._others_waiting -= is_other
            if is_other and self.is_open and not self._others_waiting:
                # Those that gave way to it.
                self._wake()
        if is_probe and self.open_for_good:
            self._fresh_probes -= is_other
        return is_probe

    def record_refusal(self, asked: float | None, sent_at: float, address: str = "", status: int = 429) -> None:
        """Hold for as long as the registry asks for (seconds; None: it does not say), else exponentially longer.

        ``sent_at`` is when the refused request was sent, on ``clock``. Raises ``LimitReached`` if that is too long.
        """
        self._status = status
        if len(self._refused) < ADDRESSES:
            self._refused.add(address)
        if not self.is_open or sent_at >= self.tripped_at:
            self._refusals += 1
        elif asked is None:
            # It was under way when another one was refused: both met the same limit.
            return
        if asked is None:
            span = min(0.5 * 2 ** (self._refusals - 1), LONGEST_BACKOFF)
            asked = random.uniform(0.5, 1.0) * span  # noqa: S311 - jitter, not a secret
        if asked > LONGEST_WAIT:
            self._fresh_probes = min(self._fresh_probes, FRESH_PROBES_IF_LONG)
        lasts = self.is_open and self.clock() - self.opened_at >= PATIENCE_WITH_LIMIT
        self.trip(asked, for_good=asked > LONGEST_WAIT or lasts)
        if asked > LONGEST_WAIT:
            raise self.refusal()

    @property
    def why(self) -> str:
        """What the registry said last."""
        return "its request limit is reached" if self._status == 429 else f"it answers {self._status} for now"

    @property
    def seconds_left(self) -> float:
        """Seconds until the next request is tried."""
        return self.open_until - self.clock()

    def refusal(self) -> LimitReached:
        """Return the error that says until when."""
        seconds = self.seconds_left
        until = clock(time.time() + seconds, with_day=seconds > 12 * 3600)
        reason = f"{self.why}, and is not tried again before {until}"
        advice = "run again then" + (", or use an account with a higher limit" if self._status == 429 else "")
        return LimitReached(f"ask {self.registry}", reason, advice=advice, status=self._status)
