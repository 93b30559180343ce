"""The private names of Prefect that are used: they are there, and what is replaced is put back."""

import inspect

import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.events.clients import NullEventsClient
from prefect.events.worker import EventsWorker
from prefect.logging import handlers
from prefect.server.services import task_run_recorder

from orchestration.server import internals


class Wrapped(httpx.AsyncBaseTransport):
    """A transport around another one."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self.inner = inner


def test_the_transports_of_a_client_are_wrapped_and_unwrapped() -> None:
    client = PrefectClient("http://127.0.0.1:9/api")
    before = internals.transport_for(client, "http://127.0.0.1:9/api")
    unwrap = internals.wrap_transports(client, Wrapped)
    inside = internals.transport_for(client, "http://127.0.0.1:9/api")
    assert isinstance(inside, Wrapped)
    assert inside.inner is before
    unwrap()
    assert internals.transport_for(client, "http://127.0.0.1:9/api") is before


def test_events_and_logs_go_nowhere_until_the_last_run_has_left() -> None:
    before = EventsWorker._client_override, handlers._api_log_sink
    with internals.history_muted():
        with internals.history_muted():
            pass
        override = EventsWorker._client_override
        assert override is not None
        assert override[0] is NullEventsClient
        sink = handlers._api_log_sink
        assert sink is not None
    assert (EventsWorker._client_override, handlers._api_log_sink) == before


async def test_queues_are_drained_though_nothing_waits_in_them() -> None:
    await internals.drain_queues(1.0)


def test_task_runs_are_written_as_often_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = set(inspect.signature(task_run_recorder.consumer).parameters)
    called: list[dict[str, object]] = []
    monkeypatch.setattr(task_run_recorder, "consumer", lambda **settings: called.append(settings))
    internals.write_task_runs_every(0.2)
    task_run_recorder.consumer(write_batch_size=200, flush_every=1)
    assert called == [{"write_batch_size": 200, "flush_every": 0.2}]
    assert "flush_every" in wanted
