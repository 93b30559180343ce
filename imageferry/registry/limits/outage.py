"""The circuit breaker for a host that is down: found out by a few requests, it spares the others their time-outs."""

from __future__ import annotations

import httpx

from imageferry.registry.errors import TRANSIENT_STATUSES, RegistryDown
from imageferry.registry.limits.circuit_breaker import CircuitBreaker
from imageferry.report.waits import Waits
from imageferry.text import format_duration

# Failed tries in a row at one host, whoever's, without an answer between them, after which its requests wait.
FAILURES_IN_A_ROW = 8

# Seconds between two probes: while requests wait for the host to come back, and once it is given up.
PROBE_EVERY = 2.0
PROBE_WHEN_GIVEN_UP = 15.0

# Seconds in which a registry may come back: one that has answered in this run, and one that never has.
PATIENCE = 60.0
PATIENCE_AT_FIRST = 15.0


class OutageBreaker(CircuitBreaker):
    """Trips after ``FAILURES_IN_A_ROW``, and is open for good once the host has been down for ``patience`` seconds."""

    def __init__(self, registry: str, waits: Waits) -> None:
        super().__init__(registry, waits)
        self.failures = 0
        self.patience = PATIENCE_AT_FIRST
        self._why = ""

    def record_failure(self, why: str, patience: float) -> None:
        """Count a try that failed. ``patience``: seconds in which this host may come back."""
        self.failures += 1
        self.patience, self._why = patience, why
        if self.failures >= FAILURES_IN_A_ROW:
            given_up = self.is_open and self.clock() - self.opened_at >= patience
            self.trip(PROBE_WHEN_GIVEN_UP if given_up else PROBE_EVERY, for_good=given_up)

    def record_answer(self) -> None:
        """Note that the host is there: whatever it answered, requests reach it."""
        self.failures = 0
        self.reset()

    @property
    def why(self) -> str:
        """What its last failure was."""
        return self._why

    @property
    def seconds_left(self) -> float:
        """Seconds after which it is given up."""
        return self.opened_at + self.patience - self.clock()

    def refusal(self) -> RegistryDown:
        """Return the error that says since when it is down."""
        down = format_duration(self.clock() - self.opened_at)
        reason = f"{self._why}, for {down} now, so it is not tried again for each request"
        return RegistryDown(f"reach {self.registry}", reason, advice="see that it is up, then run again")


def is_failure(request: httpx.Request, response: httpx.Response) -> bool:
    """Whether a response says that the registry is not working.

    500 to HEAD may mean a repository that does not exist (Quay, Nexus): only a body would say so.
    """
    if response.status_code != 500:
        return response.status_code > 500 and response.status_code in TRANSIENT_STATUSES
    if request.method == "HEAD" or not response.is_stream_consumed:
        return False
    return b"NAME_UNKNOWN" not in response.content
