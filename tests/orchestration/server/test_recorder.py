"""What keeps task runs from the server, which get there over a websocket."""

import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from orchestration.server import recorder as recording
from orchestration.server.monitor import ServerMonitor
from orchestration.server.recorder import TaskRunRecorder


class _NoWebsocket(BaseHTTPRequestHandler):
    """A server behind a proxy that passes requests, and knows no websocket."""

    def do_GET(self) -> None:
        # As a server without protection against forged requests answers.
        answers = {
            "/api/events/in": (400, b""),
            "/api/csrf-token": (422, b'{"detail": "CSRF protection is disabled."}'),
        }
        status, body = answers.get(self.path.partition("?")[0], (200, b'"3.9.1"'))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"1")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def api_url() -> Iterator[str]:
    """The API of such a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _NoWebsocket) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


async def test_a_proxy_that_lets_no_websocket_through_is_named_instead_of_waited_for(
    api_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "STANDSTILL", 0.0)
    monitor = ServerMonitor()
    recorder = TaskRunRecorder(monitor)
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", str(uuid.uuid4()))
    begun = time.monotonic()
    with temporary_settings({PREFECT_API_URL: api_url}):
        for _ in range(8):
            await recorder.task_started()
        await recorder.wait_until_recorded()
    assert time.monotonic() - begun < 10
    assert recorder.missing == "1 of 8 task runs are recorded"
    assert monitor.why is not None
    assert monitor.why.startswith("task runs reach it over a websocket, and it gets none (")
