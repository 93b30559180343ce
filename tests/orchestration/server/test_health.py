"""Whether a Prefect server answers, asked without its client."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestration.server.health import Answer, ask_api, ask_health, last_line
from testkit.processes import free_port
from testkit.registries.certificates import Authority, Certificate


@contextmanager
def answering(
    status: int, body: bytes = b"true", path: str = "/api/health", tls: Certificate | None = None
) -> Iterator[str]:
    """Serve an API that answers this at `/health`, and 404 elsewhere; give its address."""
    with recording(status, body, path, tls) as (url, _):
        yield url


@contextmanager
def recording(
    status: int, body: bytes = b"true", path: str = "/api/health", tls: Certificate | None = None
) -> Iterator[tuple[str, list[Message]]]:
    """Serve it, and keep the headers of each request."""
    headers: list[Message] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers.append(self.headers)
            self.send_response(status if self.path == path else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.server_context().wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}/api", headers
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
        ("a.b.SomeError: no\n[SQL: SELECT\n 1]\nERROR:    Application startup failed. Exiting.\n", "a.b.SomeError: no"),
    ],
)
def test_of_what_was_printed_the_last_line_says_what_is_wrong(printed: str, expected: str) -> None:
    assert last_line(printed, "nothing") == expected


def test_a_server_over_tls_is_asked_with_the_users_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with answering(200, tls=authority.server()) as url:
        unknown = ask_api(url, {})
        assert unknown.status is None
        assert unknown.problem.startswith("its certificate does not verify (")
        assert "PREFECT_API_SSL_CERT_FILE" in unknown.problem
        for settings in (
            {"PREFECT_API_SSL_CERT_FILE": str(authority.ca_file)},
            {"PREFECT_API_TLS_INSECURE_SKIP_VERIFY": "true"},
        ):
            assert ask_api(url, settings) == Answer(200)
        missing = ask_api(url, {"PREFECT_API_SSL_CERT_FILE": str(tmp_path / "missing.pem")})
        assert missing == Answer(
            None, f"PREFECT_API_SSL_CERT_FILE cannot be used: {tmp_path}/missing.pem: No such file or directory"
        )


@pytest.mark.parametrize(
    ("settings", "name", "expected"),
    [
        ({"PREFECT_API_AUTH_STRING": "u:p"}, "Authorization", "Basic dTpw"),
        ({"PREFECT_API_KEY": "k"}, "Authorization", "Bearer k"),
        ({"PREFECT_API_AUTH_STRING": "u:p", "PREFECT_API_KEY": "k"}, "Authorization", "Basic dTpw"),
        ({"PREFECT_CLIENT_CUSTOM_HEADERS": '{"X-Pass": "1"}'}, "X-Pass", "1"),
        ({"PREFECT_CLIENT_CUSTOM_HEADERS_X-PASS": "1"}, "X-Pass", "1"),
        ({"PREFECT_CLIENT_CUSTOM_HEADERS": "no JSON"}, "X-Pass", None),
    ],
)
def test_it_is_asked_with_the_users_credentials_and_headers(
    settings: dict[str, str], name: str, expected: str | None
) -> None:
    with recording(200) as (url, headers):
        assert ask_api(url, settings) == Answer(200)
    assert headers[0][name] == expected


def test_an_address_without_its_path_is_corrected() -> None:
    with answering(200) as url:
        short = url.removesuffix("/api")
        assert ask_api(short, {}) == Answer(404, f"its API is at {url}: set PREFECT_API_URL to that")
    with answering(200, b"<html>", "/health") as url:
        assert ask_api(url, {}).problem == "it answers 404: is PREFECT_API_URL the address of its API?"


def test_why_there_is_no_answer_is_said() -> None:
    assert ask_api(f"http://127.0.0.1:{free_port()}/api", {}) == Answer(None, "connection refused")
    assert ask_api("http://127.0.0.1:port/api", {}).problem
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        assert ask_api(url, {}, 0.1).problem == "no answer within 0.1 s"
