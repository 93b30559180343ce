"""Limits requests to one registry: user limits, the registry's own rate limits and quotas, and outages.

Each request passes these policies in this order; each stands in a module of its own:

1. requests a second, as the user allows (``rate``);
2. quota pacing: what is left of a request limit is spread over its window (``quota_pacing``);
3. circuit breakers: of a host that is down (``outage``), of one that answers 429 (``rate_limit_hold``). A few requests
   find that out, and spare all others their own time-outs and tries; a registry that comes back soon fails nobody;
4. concurrency: the slots of exchanges under way, as the user allows (``registry_limits``).

Then its answer is observed. They are no stack of transports: a request that has got its slot must pass the breakers
once more, an answer changes three of them, and while nothing is wrong none of them is asked at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx

from imageferry.registry.errors import TRANSIENT_STATUSES, RegistryError
from imageferry.registry.limits.circuit_breaker import CircuitBreaker
from imageferry.registry.limits.outage import PATIENCE, PATIENCE_AT_FIRST, OutageBreaker, is_failure
from imageferry.registry.limits.quota import Quota, read_quota, retry_after
from imageferry.registry.limits.quota_pacing import QuotaPacing
from imageferry.registry.limits.rate_limit_hold import LONGEST_WAIT, RateLimitHold
from imageferry.registry.limits.registry_limits import RegistryLimits
from imageferry.registry.limits.request_class import RequestClass, class_of
from imageferry.registry.transport_errors import describe_error, is_permanent, is_unknown_host
from imageferry.report.waits import Waits

_UNBOUNDED = contextlib.nullcontext()

Exchange = Callable[[httpx.Request], Awaitable[httpx.Response]]
_Slots = contextlib.AbstractAsyncContextManager[Any]


class _HostState:
    """What holds back requests to one host; a host at which nothing is wrong has none."""

    def __init__(self, registry: str, waits: Waits) -> None:
        self.outage = OutageBreaker(registry, waits)
        self.rate_limits: dict[RequestClass, RateLimitHold] = {}
        self.pacings: dict[RequestClass, QuotaPacing] = {}

    @property
    def is_clear(self) -> bool:
        return not (self.outage.failures or self.rate_limits or self.pacings)

    def breakers(self, request_class: RequestClass) -> Iterator[CircuitBreaker]:
        """Yield those that hold a request, in the order in which all requests pass them."""
        yield self.outage
        for held in RequestClass:
            if held <= request_class and held in self.rate_limits:
                yield self.rate_limits[held]


class RequestLimiter:
    """The limiter of one registry and one set of credentials.

    ``host`` is the registry's own, without a port: requests to others, such as its token server, do not count as
    requests a second.
    """

    def __init__(
        self, registry: str, host: str = "", limits: RegistryLimits | None = None, waits: Waits | None = None
    ) -> None:
        self.limits = limits or RegistryLimits()
        self._registry = registry
        self._host = host
        self._waits = waits or Waits()
        self._hosts: dict[bytes, _HostState] = {}
        self._answered: set[bytes] = set()

    @property
    def is_clear(self) -> bool:
        """Whether nothing but the user's limits holds a request back."""
        return not self._hosts

    async def send(self, request: httpx.Request, exchange: Exchange, *, bounded: bool = True) -> httpx.Response:
        """Send a request by ``exchange`` when it may go; ``bounded``: it takes one of the slots.

        Raises ``RegistryDown`` or ``LimitReached`` if it is no use to send it, and what ``exchange`` raises.
        """
        slots: _Slots = self.limits.slots if bounded else _UNBOUNDED
        if self.limits.requests is None and not self._hosts:
            # The usual way: nothing is set, and nothing is wrong.
            async with slots:
                if not self._hosts:
                    return await self._attempt(request, exchange)
        return await self._send_held(request, exchange, slots)

    async def _send_held(self, request: httpx.Request, exchange: Exchange, slots: _Slots) -> httpx.Response:
        if self.limits.requests is not None and request.url.host == self._host:
            await self.limits.requests.acquire()
        request_class, host = class_of(request), request.url.netloc
        if (state := self._hosts.get(host)) is not None and (pacing := state.pacings.get(request_class)) is not None:
            await pacing.wait()
        probed: list[CircuitBreaker] = []
        while True:
            try:
                await self._pass_breakers(request, probed)
                async with slots:
                    # What has tripped while this one waited for its slot holds it too.
                    state = self._hosts.get(host)
                    if probed or state is None or not any(b.is_open for b in state.breakers(request_class)):
                        response = await self._attempt(request, exchange)
                        if response.status_code not in TRANSIENT_STATUSES or not _may_wait_on(probed, slots):
                            return response
            except httpx.TransportError:
                # That a probe found nothing costs its request no try: it waits on, as the others do.
                if not _may_wait_on(probed, slots):
                    raise
            finally:
                for breaker in probed:
                    breaker.release_probe()
                probed.clear()

    async def _pass_breakers(self, request: httpx.Request, probed: list[CircuitBreaker]) -> None:
        """Wait while one of the breakers is open; add to ``probed`` those of which this request is the probe."""
        state = self._hosts.get(request.url.netloc)
        if state is None:
            return
        # A DELETE cleans up, perhaps on the way out: a run that is interrupted ends within seconds.
        patient = request.method != "DELETE"
        for breaker in list(state.breakers(class_of(request))):
            is_probe = await breaker.wait_while_open(patient=patient)
            if is_probe:
                probed.append(breaker)

    async def _attempt(self, request: httpx.Request, exchange: Exchange) -> httpx.Response:
        sent_at = CircuitBreaker.clock()
        try:
            response = await exchange(request)
        except httpx.TransportError as error:
            unknown = is_unknown_host(error)
            if unknown or not is_permanent(error):
                # A name that is unknown is not waited for.
                patience = 0.0 if unknown else self._patience_for(request)
                self._state_of(request).outage.record_failure(self._why(request, error), patience)
            elif (state := self._hosts.get(request.url.netloc)) is not None:
                # A host that speaks no TLS or no HTTP, or whose certificate is refused, is there.
                state.outage.record_answer()
            raise
        self._answered.add(request.url.netloc)
        if request.method != "HEAD" or self._hosts or response.status_code in TRANSIENT_STATUSES:
            try:
                self._observe(request, response, sent_at)
            except RegistryError:
                await response.aclose()
                raise
        return response

    def _observe(self, request: httpx.Request, response: httpx.Response, sent_at: float) -> None:
        """Learn from a response to a request sent at ``sent_at`` (on the breakers' clock). Raises ``LimitReached``."""
        request_class, host, status = class_of(request), request.url.netloc, response.status_code
        if status == 429 or (status == 503 and "retry-after" in response.headers):
            state = self._state_of(request)
            state.outage.record_answer()
            self._hold_of(state, request_class).record_refusal(retry_after(response.headers), sent_at)
            return
        if is_failure(request, response):
            self._state_of(request).outage.record_failure(f"it answers {status}", self._patience_for(request))
            return
        quota = read_quota(response.headers) if request_class != RequestClass.HEAD else None
        if host not in self._hosts and (quota is None or not quota.interval):
            return
        state = self._state_of(request)
        state.outage.record_answer()
        for held, hold in list(state.rate_limits.items()):
            # An answer to what was sent before the refusal says nothing of it.
            if held <= request_class and sent_at >= hold.tripped_at and status not in TRANSIENT_STATUSES:
                del state.rate_limits[held]
                hold.reset()
        if quota is not None:
            self._keep_to(quota, request_class, state)
        if state.is_clear:
            del self._hosts[host]
            self._waits.clear(self._registry)

    def _keep_to(self, quota: Quota, request_class: RequestClass, state: _HostState) -> None:
        pacing = state.pacings.pop(request_class, None)
        if quota.interval and (quota.remaining or quota.rolling or quota.seconds > LONGEST_WAIT):
            state.pacings[request_class] = pacing = pacing or QuotaPacing(self._registry, self._waits)
            pacing.renew(quota)
            return
        if pacing is not None:
            pacing.end()
        if quota.interval:
            # It says itself when the next request will be taken: to ask before would be a refusal.
            self._hold_of(state, request_class).trip(quota.seconds)

    def _why(self, request: httpx.Request, error: httpx.TransportError) -> str:
        """Return why a host does not answer; one that the registry leads to is named."""
        words = describe_error(error)
        own = not self._host or request.url.host == self._host
        return words if own else f"{request.url.netloc.decode()}, where it leads, does not answer: {words}"

    def _state_of(self, request: httpx.Request) -> _HostState:
        host = request.url.netloc
        if host not in self._hosts:
            self._hosts[host] = _HostState(self._registry, self._waits)
        return self._hosts[host]

    def _hold_of(self, state: _HostState, request_class: RequestClass) -> RateLimitHold:
        if request_class not in state.rate_limits:
            state.rate_limits[request_class] = RateLimitHold(self._registry, self._waits)
        return state.rate_limits[request_class]

    def _patience_for(self, request: httpx.Request) -> float:
        # A store that the registry leads to may be down though the registry is not.
        return PATIENCE if request.url.netloc in self._answered else PATIENCE_AT_FIRST


def _may_wait_on(probed: list[CircuitBreaker], slots: _Slots) -> bool:
    """Whether the request of a probe that found nothing may wait on; a streamed body, outside the slots, is gone."""
    # A probe that was refused by a rate limit has had its answer: that is a try.
    outages = (breaker for breaker in probed if isinstance(breaker, OutageBreaker))
    return slots is not _UNBOUNDED and any(breaker.is_open and not breaker.open_for_good for breaker in outages)
