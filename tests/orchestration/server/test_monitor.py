"""A busy Prefect server, as SQLite makes it where several write at once."""

import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from tenacity import wait_none

from orchestration.server import monitor as watching
from orchestration.server.monitor import BUSY_TRIES, ServerMonitor

BUSY = httpx.Response(503, json={"exception_message": "Service Unavailable"})


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


def guarded(watch: ServerMonitor, server: Server) -> httpx.AsyncBaseTransport:
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
