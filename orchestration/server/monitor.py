"""Whether Prefect's server is there. Once it is gone, no more is asked of it: data first, history second."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.events.clients import NullEventsClient
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import set_api_log_sink
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt, wait_random_exponential

from orchestration.settings import settings

logger = logging.getLogger("imageferry.history")

#: Seconds between two looks, and those in which the server must answer one. It answers them beside all else it does.
LOOK_EVERY = 2.0
LOOK_LIMIT = 8.0

#: Seconds in which a server that refuses connections may come back: a restart is not an end.
RESTART_LIMIT = 3.0

#: Tries of a request that a busy SQLite refuses, and the pauses between them (seconds): who writes is done in some ms,
#: for which Prefect's own tries, which come after these, wait 2 s and more.
BUSY_TRIES = 6
BUSY_PAUSE = wait_random_exponential(multiplier=0.05, max=0.5)

#: Answers that are tried again, and so do not count as one.
_NOT_NOW = frozenset({408, 429, 500, 502, 503, 504})


class ServerLost(Exception):
    """Prefect's server is gone, and is asked no more. Not an error of what was to be recorded."""


class ServerMonitor:
    """Looks after the server through the clients that it guards.

    ``why`` says in words what happened to it, None while it is there. One run has one monitor, in the run's loop.
    """

    def __init__(self) -> None:
        self.why: str | None = None
        self._lost = asyncio.Event()
        self._failing_since: float | None = None
        self._inner: httpx.AsyncBaseTransport | None = None
        self._api_url = ""
        self._looking: asyncio.Task[None] | None = None

    @property
    def lost(self) -> bool:
        """Whether the server is to be asked no more."""
        return self._lost.is_set()

    def guard(self, client: PrefectClient) -> None:
        """Have this client's requests end as soon as the server is gone, each with ``HistoryLost``."""
        # Prefect has no setting for it: its client waits a minute for an answer, and sleeps between its tries.
        http: Any = client._client
        if isinstance(http._transport, MonitoredTransport):
            return
        self._api_url = str(client.api_url).rstrip("/")
        http._mounts = {where: inner and MonitoredTransport(inner, self) for where, inner in http._mounts.items()}
        http._transport = MonitoredTransport(http._transport, self)
        self._inner = http._transport_for_url(httpx.URL(self._api_url)).inner

    @contextlib.asynccontextmanager
    async def monitoring(self) -> AsyncIterator[None]:
        """Look every ``LOOK_EVERY`` seconds while the context is entered."""
        looking = asyncio.create_task(self._keep_looking())
        try:
            yield
        finally:
            looking.cancel()

    def mark_lost(self, why: str) -> None:
        """Ask no more of the server. ``why`` is for people: "it refuses connections"."""
        if self.lost:
            return
        self.why = why
        self._lost.set()
        logger.info("Prefect's server is asked no more: %s", why)
        # What tasks and loggers would send goes nowhere, instead of into a queue that no one empties.
        EventsWorker.set_client_override(NullEventsClient)
        set_api_log_sink(lambda line: None)

    def set_deadline(self, seconds: float) -> None:
        """Give the server so many seconds more for all that is still to be asked."""
        asyncio.get_running_loop().call_later(seconds, self.mark_lost, "the run was stopped before it had answered")

    async def wait(self, coroutine: Any) -> Any:
        """Give what the coroutine gives. Raises ``HistoryLost`` when the server is gone first."""
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
        """Ask the server whether it is there, several at once as one; lose it where it is not."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        await asyncio.shield(self._looking)

    async def _keep_looking(self) -> None:
        while not self.lost:
            await asyncio.sleep(LOOK_EVERY)
            await self.probe()

    async def _look(self) -> None:
        begun = time.monotonic()
        while not self.lost:
            why = await self._fault()
            if why is None:
                return
            if time.monotonic() - begun >= RESTART_LIMIT:
                self.mark_lost(why)
                return
            await asyncio.sleep(0.3)

    async def _fault(self) -> str | None:
        """Ask once, without Prefect's tries; any answer is one. Gives what is wrong, in words."""
        if self._inner is None:
            return None
        request = httpx.Request("GET", f"{self._api_url}/health")
        try:
            async with asyncio.timeout(LOOK_LIMIT):
                response = await self._inner.handle_async_request(request)
                await response.aclose()
        except TimeoutError:
            return f"it did not answer within {LOOK_LIMIT:.0f} s"
        except httpx.TransportError as error:
            return f"it cannot be reached ({str(error) or type(error).__name__})"
        return None

    def record_response(self, *, answered: bool) -> None:
        """Take in how a request went; lose the server where nothing has gone well for the patience of the settings."""
        if answered:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = time.monotonic()
        elif time.monotonic() - self._failing_since > settings().history_patience:
            self.mark_lost(f"it has answered nothing but errors for {settings().history_patience:.0f} s")


class MonitoredTransport(httpx.AsyncBaseTransport):
    """A transport that asks a busy server again soon, gives up with it, and tells the monitor how each request went."""

    def __init__(self, inner: httpx.AsyncBaseTransport, monitor: ServerMonitor) -> None:
        self.inner = inner
        self._monitor = monitor

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send; ask a busy server again. Raises ``ServerLost`` once the server is lost."""
        retrying = AsyncRetrying(
            stop=stop_after_attempt(BUSY_TRIES),
            wait=BUSY_PAUSE,
            retry=retry_if_result(_is_busy),
            before_sleep=_let_go,
            retry_error_callback=_last_answer,
        )
        response: httpx.Response = await retrying(self._once, request)
        return response

    async def _once(self, request: httpx.Request) -> httpx.Response:
        monitor = self._monitor
        if monitor.lost:
            raise ServerLost(monitor.why)
        try:
            # One with a locked database does not answer.
            async with asyncio.timeout(settings().history_patience):
                response: httpx.Response = await monitor.wait(self.inner.handle_async_request(request))
        except TimeoutError:
            monitor.mark_lost(f"it did not answer within {settings().history_patience:.0f} s")
            raise ServerLost(monitor.why) from None
        except httpx.TransportError:
            await monitor.probe()
            if monitor.lost:
                raise ServerLost(monitor.why) from None
            monitor.record_response(answered=False)
            raise
        monitor.record_response(answered=response.status_code not in _NOT_NOW)
        return response

    async def __aenter__(self) -> MonitoredTransport:
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *given: Any) -> None:
        await self.inner.__aexit__(*given)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.inner.aclose()


def _is_busy(response: httpx.Response) -> bool:
    """Whether another one's write was in the way. What says itself when to come back is left to Prefect's client."""
    return response.status_code == 503 and "retry-after" not in response.headers


async def _let_go(state: RetryCallState) -> None:
    """Free the connection of an answer that is not looked at."""
    await _last_answer(state).aclose()


def _last_answer(state: RetryCallState) -> httpx.Response:
    assert state.outcome is not None
    response: httpx.Response = state.outcome.result()
    return response
