"""Monitors the Prefect server. Once it is lost no request is sent: copying matters more than history."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt, wait_random_exponential

from imageferry.text import describe_exception
from orchestration.server import internals
from orchestration.server.own_server import is_gone_for_good
from orchestration.settings import settings

logger = logging.getLogger("imageferry.history")

# Seconds between two probes, and those in which the server must answer one. It answers them beside all else it does.
PROBE_EVERY = 2.0
PROBE_LIMIT = 8.0

# Seconds between two probes of a server that refuses connections: it may be restarting, for as long as the patience of
# the settings lasts.
RESTART_PAUSE = 0.3

# Tries of a request that a busy SQLite refuses, and the pauses between them (seconds): a write takes some ms, for which
# Prefect's own tries, which come after these, wait 2 s and more.
BUSY_TRIES = 6
BUSY_PAUSE = wait_random_exponential(multiplier=0.05, max=0.5)

# Answers that are tried again, and so do not count as one.
_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})


class ServerLost(Exception):
    """Prefect's server is lost, and is sent no more requests. Not an error of what was to be recorded."""


class ServerMonitor:
    """Watches the server through the clients that it guards. A run has one, in the run's event loop.

    ``why`` says what happened to the server, in words; None while it is there. What a monitor changes of clients and of
    the process it puts back when ``monitoring`` is left.
    """

    def __init__(self) -> None:
        self.why: str | None = None
        self._lost = asyncio.Event()
        self._failing_since: float | None = None
        self._probed: httpx.AsyncBaseTransport | None = None
        self._api_url = ""
        self._probing: asyncio.Task[None] | None = None
        self._restore = contextlib.ExitStack()

    @property
    def lost(self) -> bool:
        """Whether the server is to be sent no more requests."""
        return self._lost.is_set()

    def guard(self, client: PrefectClient) -> None:
        """Have this client's requests end as soon as the server is lost, each with ``ServerLost``."""
        self._api_url = str(client.api_url).rstrip("/")
        transport = internals.transport_for(client, self._api_url)
        if isinstance(transport, MonitoredTransport):
            # One client serves several runs of one flow.
            self._probed, guard = transport.inner, transport.guard
        else:
            self._probed, guard = transport, _Guard(client)
        guard.monitors.append(self)
        self._restore.callback(guard.leave, self)

    @contextlib.asynccontextmanager
    async def monitoring(self) -> AsyncIterator[None]:
        """Probe the server every ``PROBE_EVERY`` seconds while the context is entered."""
        probing = asyncio.create_task(self._keep_probing())
        try:
            yield
        finally:
            probing.cancel()
            self._restore.close()

    def mark_lost(self, why: str) -> None:
        """Send the server no more requests. ``why`` is for people: "it refuses connections"."""
        if self.lost:
            return
        self.why = why
        self._lost.set()
        logger.info("Prefect's server is asked no more: %s", why)
        self._restore.enter_context(internals.history_muted())

    def set_deadline(self, seconds: float) -> None:
        """Return the server ``seconds`` more for all that it is still to be sent."""
        asyncio.get_running_loop().call_later(seconds, self.mark_lost, "the run was stopped before it had answered")

    async def wait(self, coroutine: Any) -> Any:
        """Return what the coroutine returns. Raises ``ServerLost`` when the server is lost first."""
        asking = asyncio.ensure_future(coroutine)
        losing = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait({asking, losing}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
        finally:
            losing.cancel()
            asking.cancel()
        raise ServerLost(self.why)

    async def probe(self) -> None:
        """Ask the server whether it is there, once for all who ask at the same time; mark it lost where it is not."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe())
        await asyncio.shield(self._probing)

    async def _keep_probing(self) -> None:
        while not self.lost:
            await asyncio.sleep(PROBE_EVERY)
            await self.probe()

    async def _probe(self) -> None:
        begun = time.monotonic()
        while not self.lost:
            found = await self._find_problem()
            if found is None:
                return
            why, limit = found
            if time.monotonic() - begun >= limit:
                self.mark_lost(why)
                return
            await asyncio.sleep(RESTART_PAUSE)

    async def _find_problem(self) -> tuple[str, float] | None:
        """Ask once, without Prefect's tries; any answer will do. Return what is wrong, and for how long it is borne."""
        if self._probed is None:
            return None
        request = httpx.Request("GET", f"{self._api_url}/health")
        try:
            async with asyncio.timeout(PROBE_LIMIT):
                response = await self._probed.handle_async_request(request)
                await response.aclose()
        except TimeoutError:
            return f"it did not answer within {PROBE_LIMIT:.0f} s", 0.0
        except httpx.TransportError as error:
            why = f"it cannot be reached ({describe_exception(error)})"
            return why, 0.0 if is_gone_for_good(self._api_url) else settings().history_patience
        return None

    def record_response(self, *, answered: bool) -> None:
        """Record how a request went; mark the server lost after nothing but errors for the patience of the settings."""
        if answered:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = time.monotonic()
        elif time.monotonic() - self._failing_since > settings().history_patience:
            self.mark_lost(f"it has answered nothing but errors for {settings().history_patience:.0f} s")


class _Guard:
    """The monitors of one client, whose transports are the client's own again once the last of them has left."""

    def __init__(self, client: PrefectClient) -> None:
        self.monitors: list[ServerMonitor] = []
        self._unwrap = internals.wrap_transports(client, lambda inner: MonitoredTransport(inner, self))

    def leave(self, monitor: ServerMonitor) -> None:
        """End the monitoring of one run."""
        self.monitors.remove(monitor)
        if not self.monitors:
            self._unwrap()


class MonitoredTransport(httpx.AsyncBaseTransport):
    """Asks a busy server again soon, fails at once when the server is lost, and reports each response."""

    def __init__(self, inner: httpx.AsyncBaseTransport, guard: _Guard) -> None:
        self.inner = inner
        self.guard = guard

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send; ask a busy server again. Raises ``ServerLost`` once the server is lost."""
        retrying = AsyncRetrying(
            stop=stop_after_attempt(BUSY_TRIES),
            wait=BUSY_PAUSE,
            retry=retry_if_result(_is_busy),
            before_sleep=_close_answer,
            retry_error_callback=_last_answer,
        )
        response: httpx.Response = await retrying(self._once, request)
        return response

    async def _once(self, request: httpx.Request) -> httpx.Response:
        # A request may outlast the run that sent it.
        monitors = list(self.guard.monitors)
        for monitor in monitors:
            if monitor.lost:
                raise ServerLost(monitor.why)
        if not monitors:
            return await self.inner.handle_async_request(request)
        response = await self._send(request, monitors)
        for monitor in monitors:
            monitor.record_response(answered=response.status_code not in _RETRYABLE)
        return response

    async def _send(
        self, request: httpx.Request, monitors: list[ServerMonitor], *, again: bool = True
    ) -> httpx.Response:
        first, patience = monitors[0], settings().history_patience
        try:
            # A server whose database is locked does not answer.
            async with asyncio.timeout(patience):
                response: httpx.Response = await first.wait(self.inner.handle_async_request(request))
                return response
        except TimeoutError:
            for monitor in monitors:
                monitor.mark_lost(f"it did not answer within {patience:.0f} s")
            raise ServerLost(first.why) from None
        except httpx.TransportError as error:
            for monitor in monitors:
                await monitor.probe()
                if monitor.lost:
                    raise ServerLost(monitor.why) from None
                monitor.record_response(answered=False)
            if again and isinstance(error, httpx.ConnectError):
                # It has not seen the request, and is there again.
                return await self._send(request, monitors, again=False)
            raise

    async def __aenter__(self) -> MonitoredTransport:
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *given: Any) -> None:
        await self.inner.__aexit__(*given)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.inner.aclose()


def _is_busy(response: httpx.Response) -> bool:
    """Whether another write was in the way. An answer that says when to come back is left to Prefect's client."""
    return response.status_code == 503 and "retry-after" not in response.headers


async def _close_answer(state: RetryCallState) -> None:
    """Free the connection of an answer that nobody reads."""
    await _last_answer(state).aclose()


def _last_answer(state: RetryCallState) -> httpx.Response:
    assert state.outcome is not None
    response: httpx.Response = state.outcome.result()
    return response
