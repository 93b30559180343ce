"""Limits requests to one registry: user limits, the registry's own rate limits and quotas, and outages.

Each request passes these policies in this order; each stands in a module of its own:

1. requests a second, as the user allows (``rate``);
2. quota pacing: what is left of a request limit is spread over its window (``quota_pacing``);
3. circuit breakers: of a host that is down (``outage``), of one that answers 429 (``rate_limit_hold``). A few requests
   find that out, and spare all others their own time-outs and tries; a registry that comes back soon fails nobody. A
   host that was reached is asked for what it has answered before (``witness``): if it does, the objects fail, not it;
4. concurrency: the slots of exchanges under way, as the user allows (``registry_limits``).

Then its answer is observed. They are no stack of transports: a request that has got its slot must pass the breakers
once more, an answer changes three of them, and while nothing is wrong none of them is asked at all.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import httpx

from imageferry.registry.errors import TRANSIENT_STATUSES, RegistryError, causes
from imageferry.registry.limits.address import address_of
from imageferry.registry.limits.circuit_breaker import CircuitBreaker
from imageferry.registry.limits.outage import FAILURES, PATIENCE, PATIENCE_AT_FIRST, OutageBreaker, is_failure
from imageferry.registry.limits.quota import Quota, read_quota, retry_after
from imageferry.registry.limits.quota_pacing import QuotaPacing
from imageferry.registry.limits.rate_limit_hold import LONGEST_WAIT, RateLimitHold
from imageferry.registry.limits.registry_limits import RegistryLimits
from imageferry.registry.limits.request_class import OPTIONAL, RequestClass, class_of
from imageferry.registry.limits.witness import Witnesses
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
        return self.holds_nothing and not self.outage.knows_failing

    @property
    def holds_nothing(self) -> bool:
        return not (self.outage.failures or self.rate_limits or self.pacings)

    def breakers(self, request_class: RequestClass) -> Iterator[CircuitBreaker]:
        """Yield those that hold a request, in the order in which all requests pass them."""
        yield self.outage
        yield from self.holds(request_class)

    def holds(self, request_class: RequestClass) -> list[RateLimitHold]:
        """Return the rate limits that hold a request, in that order."""
        return [self.rate_limits[held] for held in RequestClass if held <= request_class and held in self.rate_limits]


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
        self._witnesses = Witnesses()
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
        state = self._hosts.get(request.url.netloc)
        if state is not None and (pacing := state.pacings.get(class_of(request))) is not None:
            await pacing.wait()
        probed: list[CircuitBreaker] = []
        while True:
            try:
                await self._pass_breakers(request, probed)
                async with slots:
                    if await self._may_go(request, probed, exchange):
                        response = await self._attempt(request, exchange)
                        if response.status_code not in TRANSIENT_STATUSES or not _may_wait_on(request, probed, slots):
                            return response
            except httpx.TransportError:
                # That a probe found nothing costs its request no try: it waits on, as the others do.
                if not _may_wait_on(request, probed, slots):
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
        patient, address, outage = request.method != "DELETE", address_of(request), state.outage
        if await outage.wait_while_open(patient=patient, fresh=lambda: outage.is_fresh(address)):
            probed.append(outage)
        holds = state.holds(class_of(request))
        # One after the other: who is a probe has to be known of each even where a later one refuses.
        for hold in holds:
            probed += [hold] if await hold.wait_while_open(patient=patient) else []

    async def _may_go(self, request: httpx.Request, probed: list[CircuitBreaker], exchange: Exchange) -> bool:
        """Whether a request that has its slot may go: what has tripped while it waited for that holds it too."""
        state = self._hosts.get(request.url.netloc)
        if state is None:
            return True
        if state.outage.knows_failing:
            state.outage.check(address_of(request))
        if probed:
            return await self._seems_there(request, probed, exchange)
        return not any(breaker.is_open for breaker in state.breakers(class_of(request)))

    async def _seems_there(self, request: httpx.Request, probed: list[CircuitBreaker], exchange: Exchange) -> bool:
        """Ask for what the host has answered before, if this request is to find out whether it is there.

        Return False if it does not answer that either: then the request waits on, unless it asks for something new.
        """
        outage = next((breaker for breaker in probed if isinstance(breaker, OutageBreaker)), None)
        if outage is None:
            return True
        question = self._witnesses.question(request, ping=outage.few_addresses) if outage.may_be_objects else None
        why = "" if question is None else await self._ask(question, exchange)
        if question is not None and not why:
            outage.record_answer()
            return True
        address = address_of(request)
        goes = question is None or outage.is_fresh(address)
        outage.note_probe(address)
        if why:
            outage.record_failure(why, self._patience_for(request))
        return goes

    @staticmethod
    async def _ask(question: httpx.Request, exchange: Exchange) -> str:
        """Return why a question was not answered; empty if it was."""
        try:
            answer = await exchange(question)
        except httpx.TransportError as error:
            return describe_error(error)
        await answer.aclose()
        return f"it answers {answer.status_code}" if answer.status_code in FAILURES else ""

    async def _attempt(self, request: httpx.Request, exchange: Exchange) -> httpx.Response:
        sent_at = CircuitBreaker.clock()
        try:
            response = await exchange(request)
        except httpx.TransportError as error:
            unknown = is_unknown_host(error)
            if unknown or not is_permanent(error):
                # A name that is unknown is not waited for.
                patience = 0.0 if unknown else self._patience_for(request)
                self._record_failure(request, self._why(request, error), patience, reached=_was_reached(error))
            elif (state := self._hosts.get(request.url.netloc)) is not None:
                # A host that speaks no TLS or no HTTP, or whose certificate is refused, is there.
                state.outage.record_answer()
            raise
        self._answered.add(request.url.netloc)
        self._witnesses.note(request, response)
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
        if is_failure(request, response) and self._is_of_its_own(request):
            # It says nothing of the host, nor of its limits.
            self._record_failure(request, f"it answers {status}", self._patience_for(request))
            return
        if status == 429 or (status == 503 and "retry-after" in response.headers):
            state = self._state_of(request)
            state.outage.record_answer()
            self._hold_of(state, request_class).record_refusal(retry_after(response.headers), sent_at)
            return
        if is_failure(request, response):
            self._record_failure(request, f"it answers {status}", self._patience_for(request))
            return
        quota = read_quota(response.headers) if request_class != RequestClass.HEAD else None
        if host not in self._hosts and (quota is None or not quota.interval):
            return
        state = self._state_of(request)
        state.outage.record_answer(address_of(request))
        for held, hold in list(state.rate_limits.items()):
            # An answer to what was sent before the refusal says nothing of it.
            if held <= request_class and sent_at >= hold.tripped_at and status not in TRANSIENT_STATUSES:
                del state.rate_limits[held]
                hold.reset()
        if quota is not None:
            self._keep_to(quota, request_class, state)
        if state.holds_nothing:
            self._waits.clear(self._registry)
        if state.is_clear:
            del self._hosts[host]

    def _is_of_its_own(self, request: httpx.Request) -> bool:
        """Whether the failure of a request says nothing of others: it can fail without harm, or always does."""
        state = self._hosts.get(request.url.netloc)
        is_broken = state is not None and state.outage.is_broken(address_of(request))
        return is_broken or bool(request.extensions.get(OPTIONAL))

    def _record_failure(self, request: httpx.Request, why: str, patience: float, *, reached: bool = True) -> None:
        if not request.extensions.get(OPTIONAL):
            outage = self._state_of(request).outage
            outage.record_failure(why, patience, address_of(request), reached=reached)

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


def _may_wait_on(request: httpx.Request, probed: list[CircuitBreaker], slots: _Slots) -> bool:
    """Whether the request of a probe that found nothing may wait on; a streamed body, outside the slots, is gone."""
    # A probe that was refused by a rate limit has had its answer: that is a try.
    outages = (breaker for breaker in probed if isinstance(breaker, OutageBreaker))
    may_wait = slots is not _UNBOUNDED and not request.extensions.get(OPTIONAL)
    return may_wait and any(breaker.is_open and not breaker.open_for_good for breaker in outages)


def _was_reached(error: httpx.TransportError) -> bool:
    """Whether the host was connected to before the exchange broke, so that it need not be the host that failed."""
    not_connected = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, socket.gaierror, httpx.ConnectError)
    return not any(isinstance(cause, not_connected) for cause in causes(error))
