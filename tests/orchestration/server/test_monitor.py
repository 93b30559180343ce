"""A busy Prefect server, as SQLite makes it where several write at once, and one that restarts."""

import math
from types import SimpleNamespace

import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from tenacity import wait_none

from orchestration.server import monitor as watching
from orchestration.server.monitor import BUSY_TRIES, ServerLost, ServerMonitor

BUSY = httpx.Response(503, json={"exception_message": "Service Unavailable"})


class Restarting(httpx.AsyncBaseTransport):
    """Refuses so many connections, then answers; keeps what it has answered."""

    def __init__(self, refusals: float, error: Exception | None = None) -> None:
        self.refusals = refusals
        self.answered: list[str] = []
        self._error = error or httpx.ConnectError("connection refused")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Refuse, or answer."""
        if self.refusals > 0:
            self.refusals -= 1
            raise self._error
        self.answered.append(request.url.path)
        return httpx.Response(200)


class Server(httpx.AsyncBaseTransport):
    """Gives these answers, the last of them for ever, and keeps what it was asked."""

    def __init__(self, *answers: httpx.Response) -> None:
        self._answers = list(answers)
        self.asked: list[bytes] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer, with a stream that is not read yet."""
        self.asked.append(await request.aread())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def guarded(watch: ServerMonitor, server: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Give the transport of a client of Prefect's that the watch guards, with the server behind it."""
    # By its address: `get_client` would start a server.
    client = PrefectClient("http://127.0.0.1:9/api")
    client._client._transport = server
    watch.guard(client)
    transport: httpx.AsyncBaseTransport = client._client._transport
    return transport


async def sent(transport: httpx.AsyncBaseTransport) -> httpx.Response:
    """Make a flow run, as far as the transport is concerned."""
    return await transport.handle_async_request(
        httpx.Request("POST", "http://127.0.0.1:9/api/flow_runs/", json={"name": "a"})
    )


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "BUSY_PAUSE", wait_none())
    monkeypatch.setattr(watching, "RESTART_PAUSE", 0.0)


async def test_who_is_refused_for_another_ones_write_asks_again_before_prefect_waits_for_seconds() -> None:
    server, watch = Server(BUSY, BUSY, httpx.Response(201)), ServerMonitor()
    assert (await sent(guarded(watch, server))).status_code == 201
    assert server.asked == [b'{"name":"a"}'] * 3
    assert not watch.lost


async def test_who_stays_busy_is_left_to_prefects_own_patience() -> None:
    server, watch = Server(BUSY), ServerMonitor()
    answer = await sent(guarded(watch, server))
    assert answer.status_code == 503
    assert await answer.aread() == BUSY.content
    assert len(server.asked) == BUSY_TRIES
    assert not watch.lost


@pytest.mark.parametrize(
    "answer", [httpx.Response(503, headers={"retry-after": "30"}), httpx.Response(500), httpx.Response(429)]
)
async def test_no_other_refusal_is_answered_in_haste(answer: httpx.Response) -> None:
    server = Server(answer, httpx.Response(201))
    assert (await sent(guarded(ServerMonitor(), server))).status_code == answer.status_code
    assert len(server.asked) == 1


async def test_a_restart_is_borne_and_what_was_refused_is_sent_again() -> None:
    server, watch = Restarting(200), ServerMonitor()
    assert (await sent(guarded(watch, server))).status_code == 200
    assert server.answered == ["/api/health", "/api/flow_runs/"]
    assert not watch.lost


async def test_what_the_server_may_have_seen_is_not_sent_again_by_us() -> None:
    server, watch = Restarting(3, httpx.ReadError("reset")), ServerMonitor()
    with pytest.raises(httpx.ReadError):
        await sent(guarded(watch, server))
    assert server.answered == ["/api/health"]
    assert not watch.lost


async def test_refusals_last_as_long_as_the_patience_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    server, watch = Restarting(math.inf), ServerMonitor()
    with pytest.raises(ServerLost, match=r"it cannot be reached .connection refused."):
        await sent(guarded(watch, server))
    # A second each by that clock.
    assert 28 <= next(clock) <= 33
    assert watch.lost


async def test_a_server_of_its_own_that_has_ended_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "is_gone_for_good", lambda url: url == "http://127.0.0.1:9/api")
    server, watch = Restarting(math.inf), ServerMonitor()
    with pytest.raises(ServerLost):
        await sent(guarded(watch, server))
    assert server.refusals == math.inf
    assert watch.lost
