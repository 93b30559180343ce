"""Whether a Prefect server answers, asked without its client."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from orchestration.server.health import ask_health, last_line
from testkit.processes import free_port


@contextmanager
def answering(status: int) -> Iterator[str]:
    """Serve an API that answers this at `/health`, and 404 elsewhere; give its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/api/health" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/api"
        finally:
            server.shutdown()


@pytest.mark.parametrize("status", [200, 401, 503])
def test_any_answer_of_a_server_is_its_status(status: int) -> None:
    with answering(status) as url:
        assert ask_health(url) == status


def test_a_server_that_is_not_there_gives_none() -> None:
    assert ask_health(f"http://127.0.0.1:{free_port()}/api") is None


def test_a_server_that_does_not_answer_in_time_gives_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert ask_health(f"http://127.0.0.1:{silent.getsockname()[1]}/api", 0.2) is None


def test_a_server_that_does_not_speak_http_gives_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        threading.Thread(target=answer, daemon=True).start()
        assert ask_health(f"http://127.0.0.1:{server.getsockname()[1]}/api") is None


@pytest.mark.parametrize("url", ["", "api", "ftp:", "http://[::1", "http:///api", "http://127.0.0.1:port/api"])
def test_an_address_that_is_none_gives_none(url: str) -> None:
    assert ask_health(url) is None


def test_this_machine_is_not_reached_over_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    with answering(200) as url:
        assert ask_health(url) == 200


def test_another_machine_is_reached_over_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    with answering(204) as url:
        monkeypatch.setenv("http_proxy", url.removesuffix("/api"))
        # The proxy is asked for the whole address, which is not this one's own path.
        assert ask_health("http://prefect.example/api") == 404


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("", "nothing"),
        ("\n  \n", "nothing"),
        ("Traceback:\n  File\nOSError: no space\n\n", "OSError: no space"),
        ("x" * 600, "x" * 500),
    ],
)
def test_of_what_was_printed_the_last_line_says_what_is_wrong(printed: str, expected: str) -> None:
    assert last_line(printed, "nothing") == expected
