"""What holds the requests to one registry back: what a person allows, what the registry asks for, and that it is away.

A registry that is away or refuses is found out by a few, and spares all others their own time-outs and tries (a circuit
breaker); one that comes back soon fails nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import httpx

from imageferry.registry.errors import TRANSIENT_STATUSES, LimitReached, RegistryDown, RegistryError, causes
from imageferry.registry.limits.circuit_breaker import CircuitBreaker
from imageferry.registry.limits.quota import Quota, read_quota, retry_after
from imageferry.registry.limits.rate import RateLimiter
from imageferry.registry.limits.registry_limits import RegistryLimits
from imageferry.report.waits import Waits, clock
from imageferry.text import format_duration

#: Failed tries in a row at one host, whoever's, without an answer between them, after which its requests wait.
FAILURES_IN_A_ROW = 8

#: Seconds between two probes: while the others wait for it to come back, and after they have given it up.
PROBE_EVERY = 2.0
PROBE_WHEN_GIVEN_UP = 15.0

#: Seconds in which a registry may come back: one that has answered in this run, and one that never has.
PATIENCE = 60.0
PATIENCE_AT_FIRST = 15.0

#: Seconds that a limit is waited for: by what the registry says, and where it refuses again and again.
LONGEST_WAIT = 900.0
PATIENCE_WITH_LIMIT = 300.0

#: The longest pause (seconds) after a refusal that does not say how long.
LONGEST_BACKOFF = 60.0

_UNBOUNDED = contextlib.nullcontext()

Send = Callable[[httpx.Request], Awaitable[httpx.Response]]


class RequestClass(IntEnum):
    """What registries count, Docker Hub only pulls (GETs of manifests). Who refuses one refuses the heavier ones."""

    LOOK = 0
    OTHER = 1
    PULL = 2


def class_of(request: httpx.Request) -> RequestClass:
    """Give the weight of a request."""
    if request.method == "HEAD":
        return RequestClass.LOOK
    return RequestClass.PULL if request.method == "GET" and "/manifests/" in request.url.path else RequestClass.OTHER


class _RateLimitHold(CircuitBreaker):
    """The barrier of a host that refuses requests of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.refusals = 0


@dataclass(frozen=True, slots=True)
class _QuotaPacing:
    """The rest of a request limit, spread over the time ``until`` which it is to last."""

    quota: Quota
    pace: RateLimiter
    until: float


class _HostState:
    """What is wrong with one host; there is none of these for a host with which nothing is."""

    def __init__(self) -> None:
        self.failures = 0
        self.why = ""
        self.away = CircuitBreaker()
        self.limits: dict[RequestClass, _RateLimitHold] = {}
        self.spreads: dict[RequestClass, _QuotaPacing] = {}

    @property
    def is_over(self) -> bool:
        return not (self.failures or self.limits or self.spreads)

    def barriers(self, weight: RequestClass) -> Iterator[CircuitBreaker]:
        """Give those that hold a request, in the order in which all pass them."""
        yield self.away
        for held in RequestClass:
            if held <= weight and held in self.limits:
                yield self.limits[held]


class RequestLimiter:
    """The gate of one registry and one set of credentials.

    ``host`` is the registry's own, without a port: what goes to others, such as its token server, takes no turn of
    those a second. ``words`` puts an exception into words.
    """

    def __init__(
        self,
        registry: str,
        host: str = "",
        throttle: RegistryLimits | None = None,
        waits: Waits | None = None,
        words: Callable[[BaseException], str] = str,
    ) -> None:
        self.throttle = throttle or RegistryLimits()
        self._registry = registry
        self._host = host
        self._waits = waits or Waits()
        self._words = words
        self._troubles: dict[bytes, _HostState] = {}
        self._was_there = False

    async def through(self, request: httpx.Request, send: Send, *, bounded: bool = True) -> httpx.Response:
        """Send a request in its turn; ``bounded`` by the exchanges that may be under way at once.

        Raises ``Away`` or ``LimitReached`` where it is no use to send it, and what ``send`` raises.
        """
        slots = self.throttle.slots if bounded else _UNBOUNDED
        if self.throttle.requests is None and not self._troubles:
            # The usual way: nothing is set, and nothing is wrong.
            async with slots:
                if not self._troubles:
                    return await self._attempt(request, send)
        return await self._in_turn(request, send, slots)

    async def _in_turn(
        self, request: httpx.Request, send: Send, slots: contextlib.AbstractAsyncContextManager[Any]
    ) -> httpx.Response:
        if self.throttle.requests is not None and request.url.host == self._host:
            await self.throttle.requests.acquire()
        weight, host = class_of(request), request.url.netloc
        await self._spread(weight, host)
        ahead: list[CircuitBreaker] = []
        while True:
            try:
                await self._pass_barriers(request, ahead)
                async with slots:
                    # What has closed while this one waited for its place holds it too.
                    trouble = self._troubles.get(host)
                    if ahead or trouble is None or not any(barrier.closed for barrier in trouble.barriers(weight)):
                        response = await self._attempt(request, send)
                        if response.status_code not in TRANSIENT_STATUSES or not _may_wait(ahead, slots):
                            return response
            except httpx.TransportError:
                # That a probe found nothing costs its request no try: it waits on, as the others do.
                if not _may_wait(ahead, slots):
                    raise
            finally:
                for barrier in ahead:
                    barrier.release()
                ahead.clear()

    async def _pass_barriers(self, request: httpx.Request, ahead: list[CircuitBreaker]) -> None:
        """Wait for a way through each barrier; those through which this one goes ahead are added."""
        trouble = self._troubles.get(request.url.netloc)
        if trouble is None:
            return
        for barrier in list(trouble.barriers(class_of(request))):
            if barrier is trouble.away:
                refuse, seconds = self._away(trouble), trouble.away.since + self._patience - CircuitBreaker.clock()
                why = trouble.why
            else:
                refuse, seconds = self._limit_reached(barrier), barrier.until - CircuitBreaker.clock()
                why = "its request limit is reached"

            def tell(seconds: float = seconds, why: str = why) -> None:
                self._waits.add(self._registry, seconds, why)

            # Who cleans up may be on the way out: a run that is interrupted ends within seconds.
            if await barrier.passed(refuse, tell, patient=request.method != "DELETE"):
                ahead.append(barrier)

    async def _spread(self, weight: RequestClass, host: bytes) -> None:
        """Wait for one's share of a request limit that is nearly used up."""
        spread = self._spread_of(weight, host)
        if spread is None:
            return
        begins = CircuitBreaker.clock() + spread.pace.reserve(spread.quota.interval)
        while (rest := begins - CircuitBreaker.clock()) > 0 and self._spread_of(weight, host) is not None:
            self._waits.add(self._registry, rest, "its request limit is nearly used up")
            # Looked at again and again: with the next window there is plenty.
            await asyncio.sleep(min(rest, 1.0))

    def _spread_of(self, weight: RequestClass, host: bytes) -> _QuotaPacing | None:
        trouble = self._troubles.get(host)
        spread = None if trouble is None else trouble.spreads.get(weight)
        return None if spread is None or CircuitBreaker.clock() > spread.until else spread

    async def _attempt(self, request: httpx.Request, send: Send) -> httpx.Response:
        begun = CircuitBreaker.clock()
        try:
            response = await send(request)
        except httpx.TransportError as error:
            if any(isinstance(cause, ssl.SSLError) for cause in causes(error)):
                # Who does not speak TLS, or shows a bad certificate, is there.
                self._answered(request.url.netloc)
            else:
                self._failed(request.url.netloc, self._words(error))
            raise
        self._was_there = True
        if request.method != "HEAD" or self._troubles or response.status_code in TRANSIENT_STATUSES:
            try:
                self._heed(request, response, begun)
            except RegistryError:
                await response.aclose()
                raise
        return response

    def _heed(self, request: httpx.Request, response: httpx.Response, begun: float) -> None:
        """Learn from an answer. Raises ``LimitReached``."""
        weight, host, status = class_of(request), request.url.netloc, response.status_code
        if status == 429 or (status == 503 and "retry-after" in response.headers):
            self._limited(weight, host, response, begun)
            return
        if _is_failure(request, response):
            self._failed(host, f"it answers {status}")
            return
        quota = read_quota(response.headers) if weight != RequestClass.LOOK else None
        trouble = self._troubles.get(host)
        if trouble is None and (quota is None or not quota.interval):
            return
        trouble = self._troubles.setdefault(host, trouble or _HostState())
        self._answered(host)
        for held, limit in list(trouble.limits.items()):
            # An answer to what was sent before the refusal says nothing of it.
            if held <= weight and begun >= limit.renewed and status not in TRANSIENT_STATUSES:
                del trouble.limits[held]
                limit.open()
        if quota is not None:
            self._keep_to(quota, weight, trouble)
        if trouble.is_over:
            del self._troubles[host]
            self._waits.clear(self._registry)

    def _keep_to(self, quota: Quota, weight: RequestClass, trouble: _HostState) -> None:
        before = trouble.spreads.pop(weight, None)
        if not quota.interval:
            return
        if not quota.remaining and not quota.rolling and quota.seconds <= LONGEST_WAIT:
            # It says itself when the next request will be taken: to ask before would be a refusal.
            trouble.limits.setdefault(weight, _RateLimitHold()).close(quota.seconds)
            return
        pace = RateLimiter(1.0) if before is None else before.pace
        trouble.spreads[weight] = _QuotaPacing(quota, pace, CircuitBreaker.clock() + quota.seconds)

    def _answered(self, host: bytes) -> None:
        trouble = self._troubles.get(host)
        if trouble is not None:
            trouble.failures = 0
            trouble.away.open()

    def _failed(self, host: bytes, why: str) -> None:
        trouble = self._troubles.setdefault(host, _HostState())
        trouble.failures += 1
        trouble.why = why
        if trouble.failures >= FAILURES_IN_A_ROW:
            away = trouble.away
            given_up = away.closed and away.clock() - away.since >= self._patience
            away.close(PROBE_WHEN_GIVEN_UP if given_up else PROBE_EVERY, given_up=given_up)

    def _limited(self, weight: RequestClass, host: bytes, response: httpx.Response, begun: float) -> None:
        """Hold back all requests that weigh as much. Raises ``LimitReached`` where that would be too long."""
        trouble = self._troubles.setdefault(host, _HostState())
        self._answered(host)
        limit = trouble.limits.setdefault(weight, _RateLimitHold())
        asked = retry_after(response.headers)
        if not limit.closed or begun >= limit.renewed:
            limit.refusals += 1
        elif asked is None:
            # It was under way when another one was refused: they met the same wall.
            return
        if asked is None:
            span = min(0.5 * 2 ** (limit.refusals - 1), LONGEST_BACKOFF)
            asked = random.uniform(0.5, 1.0) * span  # noqa: S311 - jitter, not a secret
        patient = not limit.closed or limit.clock() - limit.since < PATIENCE_WITH_LIMIT
        limit.close(asked, given_up=asked > LONGEST_WAIT or not patient)
        if asked > LONGEST_WAIT:
            raise self._limit_reached(limit)()

    @property
    def _patience(self) -> float:
        return PATIENCE if self._was_there else PATIENCE_AT_FIRST

    def _away(self, trouble: _HostState) -> Callable[[], Exception]:
        def error() -> Exception:
            gone = format_duration(CircuitBreaker.clock() - trouble.away.since)
            reason = f"{trouble.why}, for {gone} now, so it is not tried again for each request"
            return RegistryDown(f"reach {self._registry}", reason, advice="see that it is up, then run again")

        return error

    def _limit_reached(self, limit: CircuitBreaker) -> Callable[[], Exception]:
        def error() -> Exception:
            seconds = limit.until - limit.clock()
            until = clock(time.time() + seconds, with_day=seconds > 12 * 3600)
            reason = f"its request limit is reached, and is not tried again before {until}"
            advice = "run again then, or use an account with a higher limit"
            return LimitReached(f"ask {self._registry}", reason, advice=advice, status=429)

        return error


def _may_wait(ahead: list[CircuitBreaker], slots: object) -> bool:
    """Whether a probe that found nothing may go on waiting; a streamed body, outside the bound, is gone."""
    # One that was refused has had its answer: that is a try.
    away = (barrier for barrier in ahead if not isinstance(barrier, _RateLimitHold))
    return slots is not _UNBOUNDED and any(barrier.closed and not barrier.given_up for barrier in away)


def _is_failure(request: httpx.Request, response: httpx.Response) -> bool:
    """Whether an answer says that the registry is not at work.

    500 to HEAD may mean a repository that does not exist (Quay, Nexus): only a body would say so.
    """
    if response.status_code != 500:
        return response.status_code in (502, 503, 504)
    if request.method == "HEAD" or not response.is_stream_consumed:
        return False
    return b"NAME_UNKNOWN" not in response.content
