"""A Prefect server of our own, for runs where the user has none: started early, stopped with the run.

As a program (``python -m flows.server FD``) it serves on an inherited socket until its standard input ends, so that it
never outlives the run that started it, not even one that was killed.
"""

from __future__ import annotations

import functools
import gc
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.server.prefect_settings import api_url, own_environment

if TYPE_CHECKING:
    import uvicorn

#: Seconds in which the server must answer; its first start makes the database.
START_LIMIT = 180.0

#: Seconds in which it ends once the run has.
STOP_LIMIT = 10.0

#: Seconds between two writings of what has come in about task runs.
RECORD_EVERY = 0.2


class ServerError(Exception):
    """The server cannot be used. The text says why, or what it printed last."""


class LocalServer:
    """A server in a process of its own, with its database in Prefect's home."""

    def __init__(self, notice: str = "") -> None:
        self.notice = notice
        try:
            # Bound here, so that no other process can take the port meanwhile; clients that come early wait.
            self._socket = socket.create_server(("127.0.0.1", 0))
            self._output = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        except OSError as error:
            raise ServerError(f"Prefect's server cannot start: {error}") from None
        self._port: int = self._socket.getsockname()[1]
        self.api_url = f"http://127.0.0.1:{self._port}/api"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "orchestration.server.own_server", str(self._socket.fileno())],
            env=_environment(self.api_url),
            pass_fds=[self._socket.fileno()],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            # An interrupt at the terminal is for the run, which still has its history to write.
            start_new_session=True,
        )

    def wait_until_ready(self, on_wait: Callable[[float], None]) -> None:
        """Wait until the server answers. ``on_wait`` is told the seconds waited. Raises ``ServerError``."""
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < START_LIMIT:
            on_wait(waited)
            if self._process.poll() is not None:
                raise ServerError(
                    f"Prefect's server ended with status {self._process.returncode}: {self._last_words()}"
                )
            if self._is_healthy():
                # It has the socket: were it open here too, one that died would seem to listen still.
                self._socket.close()
                return
            time.sleep(0.02)
        raise ServerError(f"Prefect's server did not answer within {START_LIMIT:.0f} s: {self._last_words()}")

    def _is_healthy(self) -> bool:
        """Ask once. The socket listens before the server does: the answer is there as soon as it can be."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=1.0)
        try:
            connection.request("GET", "/api/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _last_words(self) -> str:
        """Give the last line that it printed: of a traceback, the one that says what is wrong."""
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return said[-1][:500] if said else "it said nothing"


class ConfiguredServer:
    """The server that the user has set, and that answers."""

    #: What a person is to be told of the server, or nothing.
    notice = ""

    def wait_until_ready(self, on_wait: Callable[[float], None]) -> None:
        """Give back at once."""


def configured_server() -> ConfiguredServer:
    """Give the server that the user has set. Raises ``ServerError`` where none is set, or it does not answer."""
    url = api_url(os.environ, Path.cwd())
    if not url:
        raise ServerError("no Prefect server is set: export PREFECT_API_URL=http://SERVER:4200/api")
    if not _answers(url):
        raise ServerError(f"no Prefect server answers at {url}")
    return ConfiguredServer()


@functools.cache
def find_or_start_server() -> ConfiguredServer | LocalServer:
    """Give the run's Prefect server: the user's where it answers, else one of our own that starts with the first call.

    One of our own takes seconds to start, in which other things can be done, and ends when this process does.
    """
    url = api_url(os.environ, Path.cwd())
    if url and _answers(url):
        return ConfiguredServer()
    notice = f"no Prefect server at {url}; a local one keeps this run's history" if url else ""
    server = LocalServer(notice)
    os.environ["PREFECT_API_URL"] = server.api_url
    return server


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5.0):  # noqa: S310 - the user's own setting
            return True
    except urllib.error.HTTPError:
        # Prefect Cloud wants to know who asks: it is there.
        return True
    except (OSError, ValueError, http.client.HTTPException):
        return False


def _environment(api_url: str) -> dict[str, str]:
    root = str(Path(__file__).resolve().parent.parent)
    environment = own_environment()
    paths = [root, *filter(None, [environment.get("PYTHONPATH")])]
    return environment | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PREFECT_API_URL": api_url,
        "PREFECT_UI_ENABLED": "0",
        # What Prefect's own ephemeral server is told.
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }


def serve(descriptor: int) -> None:
    """Serve Prefect's API on the socket until standard input ends."""
    # Waits for the end before anything is imported: a run that ends early leaves nothing behind.
    serving: list[uvicorn.Server] = []
    threading.Thread(target=_watch, args=[serving], daemon=True).start()
    # What is imported stays: to look for garbage among it takes a tenth of the start.
    gc.disable()
    import uvicorn  # noqa: PLC0415 - only the server's process needs it
    from prefect.server.api.server import create_app  # noqa: PLC0415

    _record_soon()
    gc.freeze()
    gc.enable()
    server = uvicorn.Server(uvicorn.Config(create_app, factory=True, log_level="error", lifespan="on"))
    serving.append(server)
    server.run(sockets=[socket.socket(fileno=descriptor)])


def _record_soon() -> None:
    """Have task runs written every ``RECORD_EVERY``: Prefect's setting knows whole seconds, and a run waits for it."""
    from prefect.server.services import task_run_recorder as recorder  # noqa: PLC0415 - see above

    consumer = recorder.consumer

    def sooner(**given: Any) -> Any:
        return consumer(**given | {"flush_every": RECORD_EVERY})

    recorder.consumer = sooner  # type: ignore[assignment] # it takes more than the keywords it is called with


def _watch(serving: list[uvicorn.Server]) -> None:
    """Wait until standard input ends, then have the server write what it still has, and end."""
    sys.stdin.buffer.read()
    for server in serving:
        server.should_exit = True
        time.sleep(STOP_LIMIT)
    os._exit(1)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
