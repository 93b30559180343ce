"""Every private name of Prefect that this project uses, each with its reason; what is replaced can be put back.

Prefect has no public setting for any of these. ``tests/orchestration/server/test_internals.py`` fails where a new
version of Prefect has one of them no more.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.events.clients import NullEventsClient
from prefect.events.worker import EventsWorker
from prefect.logging import handlers
from prefect.logging.handlers import APILogWorker, set_api_log_sink

# Queues of this process that wait for a server: log lines and events (task runs reach the server as events).
_QUEUES = (APILogWorker, EventsWorker)

Wrap = Callable[[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport]


def wrap_transports(client: PrefectClient, wrap: Wrap) -> Callable[[], None]:
    """Put a transport of ours around those of a client of Prefect's; return what puts the old ones back.

    Its client waits a minute for an answer and sleeps between its tries, and takes no transport from outside
    (``PrefectClient._client``, ``httpx.AsyncClient._transport`` and ``_mounts``).
    """
    http: Any = client._client
    transport, mounts = http._transport, http._mounts
    http._transport = wrap(transport)
    http._mounts = {pattern: inner and wrap(inner) for pattern, inner in mounts.items()}

    def unwrap() -> None:
        http._transport, http._mounts = transport, mounts

    return unwrap


def transport_for(client: PrefectClient, url: str) -> httpx.AsyncBaseTransport:
    """Return the transport by which a client of Prefect's asks this address (``AsyncClient._transport_for_url``)."""
    http: Any = client._client
    transport: httpx.AsyncBaseTransport = http._transport_for_url(httpx.URL(url))
    return transport


class _Muting:
    """Counts the runs of this process that have Prefect's events and logs go nowhere."""

    def __init__(self) -> None:
        self._runs = 0
        self._events: Any = None
        self._sink: Any = None

    @contextlib.contextmanager
    def muted(self) -> Iterator[None]:
        if not self._runs:
            self._events, self._sink = EventsWorker._client_override, handlers._api_log_sink
            EventsWorker.set_client_override(NullEventsClient)
            set_api_log_sink(_drop)
        self._runs += 1
        try:
            yield
        finally:
            self._runs -= 1
            if not self._runs:
                EventsWorker._client_override = self._events
                set_api_log_sink(self._sink)
                # One that has lost its connection would try for long to get it back: the next run starts a new one.
                _stop_queues()


_muting = _Muting()


def history_muted() -> contextlib.AbstractContextManager[None]:
    """Have what tasks and loggers would send go nowhere while the context is entered, instead of into a full queue.

    For the whole process (``EventsWorker``'s client override, the log handler's sink): the last of several runs that
    leaves it puts back what was there before.
    """
    return _muting.muted()


async def drain_queues(seconds: float) -> None:
    """Send the log lines and events that wait in this process, for at most so many ``seconds`` each.

    ``drain_all`` is in ``prefect._internal``; Prefect itself calls it as the interpreter ends.
    """
    for queue in _QUEUES:
        drained = queue.drain_all(timeout=seconds, at_exit=False)
        if inspect.isawaitable(drained):
            await drained


def _stop_queues() -> None:
    for queue in _QUEUES:
        with queue._instance_cache_lock:
            instances: Any = queue
            running = [each for each in instances._instances.values() if isinstance(each, queue)]
        for each in running:
            each._stop()


def _drop(line: dict[str, Any]) -> None:
    """Take a log line, and send it nowhere."""


def write_task_runs_every(seconds: float) -> None:
    """Have the server of this process write what comes in about task runs so often (``task_run_recorder.consumer``).

    Prefect's setting knows whole seconds, and a run waits at its end until all is written.
    """
    from prefect.server.services import task_run_recorder  # noqa: PLC0415 - only a server needs it

    consumer = task_run_recorder.consumer

    def sooner(**settings: Any) -> Any:
        return consumer(**settings | {"flush_every": seconds})

    task_run_recorder.consumer = sooner  # type: ignore[assignment] # it takes more than the keywords it is called with


def preload_engines() -> None:
    """Import what Prefect otherwise imports as the first flow and task begin, which takes part of a second."""
    import prefect.flow_engine  # noqa: PLC0415
    import prefect.task_engine  # noqa: F401, PLC0415
