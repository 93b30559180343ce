"""A Prefect server of our own, for runs where the user has none: started early, stopped with the run.

As a program (``python -P -m orchestration.server.own_server FD``) it serves on an inherited socket until its standard
input ends, so that it never outlives the run that started it, not even one that was killed.
"""

from __future__ import annotations

import functools
import gc
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from orchestration.own_process import module_command, project_environment
from orchestration.server.health import ask_health, last_line
from orchestration.server.prefect_settings import SERVER_DEFAULTS, api_url, set_defaults

if TYPE_CHECKING:
    import uvicorn

# Seconds in which the server must answer; its first start makes the database.
START_LIMIT = 180.0

# Seconds in which it ends once the run has.
STOP_LIMIT = 10.0

# Seconds between two writings of the task runs that have come in.
RECORD_EVERY = 0.2


class ServerError(Exception):
    """The server cannot be used. The text says why, or what it printed last."""


class ConfiguredServer:
    """The server that the user has set, and that answers."""

    # What is to be reported of the server; empty where there is nothing.
    notice = ""

    def wait_until_ready(self, on_wait: Callable[[float], None]) -> None:
        """Return at once."""

    def close(self) -> None:
        """Leave it running: it is the user's. The next run of this process looks for its server anew."""
        find_or_start_server.cache_clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LocalServer(ConfiguredServer):
    """A server in a process of its own, with its database in Prefect's home.

    Until it is closed, ``PREFECT_API_URL`` names it in the environment of this process.
    """

    def __init__(self, notice: str = "") -> None:
        """Start it; ``notice`` is what is to be reported of it. Raises ``ServerError``."""
        self.notice = notice
        try:
            # Bound here, so that no other process can take the port meanwhile; clients that come early wait.
            self._socket = socket.create_server(("127.0.0.1", 0))
            self._output = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        except OSError as error:
            raise ServerError(f"Prefect's server cannot start: {error}") from None
        self.api_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/api"
        self._process = subprocess.Popen(
            module_command("orchestration.server.own_server", str(self._socket.fileno())),
            env=_environment(self.api_url),
            pass_fds=[self._socket.fileno()],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            # An interrupt at the terminal is for the run, which still has its history to write.
            start_new_session=True,
        )
        self._replaced_url = os.environ.get("PREFECT_API_URL")
        os.environ["PREFECT_API_URL"] = self.api_url
        self._closed = False

    def wait_until_ready(self, on_wait: Callable[[float], None]) -> None:
        """Wait until the server answers. ``on_wait`` is called with the seconds waited. Raises ``ServerError``."""
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < START_LIMIT:
            on_wait(waited)
            if self._process.poll() is not None:
                raise ServerError(f"Prefect's server ended with status {self._process.returncode}: {self._last_line()}")
            # The socket listens before the server does: the answer is there as soon as it can be.
            if ask_health(self.api_url, 1.0) == 200:
                # It has the socket: were it open here too, one that died would seem to listen still.
                self._socket.close()
                return
            time.sleep(0.02)
        raise ServerError(f"Prefect's server did not answer within {START_LIMIT:.0f} s: {self._last_line()}")

    def close(self) -> None:
        """Have the server write what it still has, and end; put the environment back. Does not wait for its end."""
        if self._closed:
            return
        self._closed = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._socket.close()
        self._output.close()
        if os.environ.get("PREFECT_API_URL") == self.api_url:
            if self._replaced_url is None:
                del os.environ["PREFECT_API_URL"]
            else:
                os.environ["PREFECT_API_URL"] = self._replaced_url
        super().close()

    def _last_line(self) -> str:
        self._output.seek(0)
        return last_line(self._output.read().decode(errors="replace"), "it said nothing")


def configured_server() -> ConfiguredServer:
    """Return the server that the user has set. Raises ``ServerError`` where none is set, or it does not answer."""
    url = api_url(os.environ, Path.cwd())
    if not url:
        raise ServerError("no Prefect server is set: export PREFECT_API_URL=http://SERVER:4200/api")
    # Whatever the status: Prefect Cloud refuses those who do not say who they are, and is there.
    if ask_health(url) is None:
        raise ServerError(f"no Prefect server answers at {url}")
    return ConfiguredServer()


@functools.cache
def find_or_start_server() -> ConfiguredServer:
    """Return the run's Prefect server: the user's where it answers, else one of our own that starts with this call.

    One of our own takes seconds to start, in which other things can be done. It is the same at each call until it is
    closed, and ends at the latest when this process does. Raises ``ServerError``.
    """
    url = api_url(os.environ, Path.cwd())
    if url and ask_health(url) is not None:
        return ConfiguredServer()
    return LocalServer(f"no Prefect server at {url}; a local one keeps this run's history" if url else "")


def _environment(url: str) -> dict[str, str]:
    environment = project_environment(os.environ)
    set_defaults(environment, SERVER_DEFAULTS)
    return environment | {
        "PREFECT_API_URL": url,
        "PREFECT_UI_ENABLED": "0",
        # What Prefect's own ephemeral server is given.
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }


def serve(descriptor: int) -> None:
    """Serve Prefect's API on the socket until standard input ends."""
    # Wait for the end before anything is imported: a run that ends early leaves nothing behind.
    serving: list[uvicorn.Server] = []
    threading.Thread(target=_watch, args=[serving], daemon=True).start()
    # What is imported stays: to look for garbage among it takes a tenth of the start.
    gc.disable()
    import uvicorn  # noqa: PLC0415 - only the server's process needs it
    from prefect.server.api.server import create_app  # noqa: PLC0415

    from orchestration.server.internals import write_task_runs_every  # noqa: PLC0415

    write_task_runs_every(RECORD_EVERY)
    gc.freeze()
    gc.enable()
    server = uvicorn.Server(uvicorn.Config(create_app, factory=True, log_level="error", lifespan="on"))
    serving.append(server)
    server.run(sockets=[socket.socket(fileno=descriptor)])


def _watch(serving: list[uvicorn.Server]) -> None:
    """Wait until standard input ends, then have the server write what it still has, and end."""
    sys.stdin.buffer.read()
    for server in serving:
        server.should_exit = True
        time.sleep(STOP_LIMIT)
    os._exit(1)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
