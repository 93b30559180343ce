"""The circuit breaker for a host that is down: found out by a few requests, it spares the others their time-outs."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from imageferry.registry.errors import TRANSIENT_STATUSES, RegistryDown
from imageferry.registry.limits.circuit_breaker import CircuitBreaker
from imageferry.report.waits import Waits
from imageferry.text import format_duration

# Failed tries in a row at one host, whoever's, without an answer between them, after which its requests wait.
FAILURES_IN_A_ROW = 8

# Failed tries in a row at one address, while the host answers others, after which they no longer speak for the host,
# and after which the address is given up.
ADDRESS_DOUBTED = 4
ADDRESS_GIVEN_UP = 48

# Statuses that say that a registry is not working.
FAILURES = frozenset(status for status in TRANSIENT_STATUSES if status >= 500)

# Addresses that are remembered to fail.
ADDRESSES = 10_000

# Requests for what has not been asked for yet that go ahead, one after the other, at a host that seems to be down.
FRESH_PROBES = 32

# Seconds between two probes: while requests wait for the host to come back, and once it is given up.
PROBE_EVERY = 2.0
PROBE_WHEN_GIVEN_UP = 15.0

# Seconds in which a registry may come back: one that has answered in this run, and one that never has.
PATIENCE = 60.0
PATIENCE_AT_FIRST = 15.0


@dataclass(slots=True)
class _FailingAddress:
    """An address that has failed at each of the last ``tries``; before them the host had given ``answers``."""

    answers: int
    tries: int = 0
    why: str = ""
    ask_again: float = 0.0


class OutageBreaker(CircuitBreaker):
    """Trips after ``FAILURES_IN_A_ROW``, and is open for good once the host has been down for ``patience`` seconds.

    It judges the host and not what is asked for there: an address that fails again and again, while others are
    answered, counts no more. ``may_be_objects``: the host was reached, so what failed may be these addresses alone.
    """

    def __init__(self, registry: str, waits: Waits) -> None:
        super().__init__(registry, waits)
        self.failures = 0
        self.patience = PATIENCE_AT_FIRST
        self.may_be_objects = False
        self._why = ""
        # Those that failed in this row; how often the host has answered; those that fail again and again.
        self._in_a_row: set[str] = set()
        self._answers = 0
        self._failing: dict[str, _FailingAddress] = {}
        # A probe was sent since it opened; how many may still go ahead to addresses that have not failed.
        self._was_probed = False
        self._fresh_probes = FRESH_PROBES

    def record_failure(self, why: str, patience: float, address: str = "", *, reached: bool = False) -> None:
        """Count a try that failed. ``patience``: seconds in which this host may come back.

        ``reached``: a connection was there, so that the failure may be that of the ``address`` alone.
        """
        if reached and self._is_broken(self._count_try(address, why)):
            return
        self.failures += 1
        if reached:
            self.may_be_objects = True
            if len(self._in_a_row) <= FRESH_PROBES:
                self._in_a_row.add(address)
        self.patience, self._why = patience, why
        if self.failures >= FAILURES_IN_A_ROW:
            given_up = self.is_open and self.clock() - self.opened_at >= patience
            pause = PROBE_EVERY if self._was_probed or not self.may_be_objects else 0.0
            self.trip(PROBE_WHEN_GIVEN_UP if given_up else pause, for_good=given_up)

    def record_answer(self, address: str = "") -> None:
        """Note that the host is there: whatever it answered, requests reach it."""
        self.failures = 0
        self._answers += 1
        self._in_a_row.clear()
        self._failing.pop(address, None)
        self.may_be_objects = self._was_probed = False
        self._fresh_probes = FRESH_PROBES
        if self.is_open:
            self.reset()

    def note_probe(self, address: str) -> None:
        """Note that a request is to find out itself whether the host is there: nothing else could tell."""
        if self.is_fresh(address):
            self._fresh_probes -= 1
        self._was_probed = True

    def is_fresh(self, address: str) -> bool:
        """Whether a request for this address may go ahead though the breaker is open: it has not failed there."""
        return self.may_be_objects and self._was_probed and self._fresh_probes > 0 and address not in self._in_a_row

    def is_broken(self, address: str) -> bool:
        """Whether this address fails again and again while the host answers others."""
        failing = self._failing.get(address)
        return failing is not None and self._is_broken(failing)

    def check(self, address: str) -> None:
        """Raise ``RegistryDown`` for an address that is given up, but for one request now and then."""
        failing = self._failing.get(address)
        if failing is None or failing.tries < ADDRESS_GIVEN_UP or not self._is_broken(failing):
            return
        now = self.clock()
        if now < failing.ask_again:
            # The path alone: a query may hold a secret.
            path = address.split(" ")[1]
            reason = f"{failing.why}, {failing.tries} times in a row, so it is not tried again for each request"
            raise RegistryDown(f"ask {self.registry} for {path}", reason)
        failing.ask_again = now + PROBE_WHEN_GIVEN_UP

    @property
    def few_addresses(self) -> bool:
        """Whether what failed in this row is so little that it need not be the host."""
        return len(self._in_a_row) < FAILURES_IN_A_ROW

    @property
    def knows_failing(self) -> bool:
        """Whether there are addresses that have failed and not been answered since."""
        return bool(self._failing)

    def _count_try(self, address: str, why: str) -> _FailingAddress:
        failing = self._failing.get(address)
        if failing is None:
            if len(self._failing) >= ADDRESSES:
                del self._failing[next(iter(self._failing))]
            failing = self._failing[address] = _FailingAddress(self._answers)
        failing.tries += 1
        failing.why = why
        failing.ask_again = self.clock() + PROBE_WHEN_GIVEN_UP
        return failing

    def _is_broken(self, failing: _FailingAddress) -> bool:
        return failing.tries > ADDRESS_DOUBTED and failing.answers != self._answers

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
        return response.status_code in FAILURES
    if request.method == "HEAD" or not response.is_stream_consumed:
        return False
    return b"NAME_UNKNOWN" not in response.content
