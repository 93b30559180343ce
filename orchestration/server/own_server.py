"""A Prefect server of our own, for runs where the user has none: started early, stopped with the run.

As a program (``python -P -m orchestration.server.own_server FD FOLDER``) it serves on an inherited socket until its
standard input ends, so that it never outlives the run that started it, not even one that was killed.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from orchestration.own_process import module_command, project_environment
from orchestration.server.auth_string import find_auth_string
from orchestration.server.health import ask_api, ask_health, last_line
from orchestration.server.prefect_settings import (
    SERVER_DEFAULTS,
    close_database,
    own_server_settings,
    prefect_home,
    settings_problem,
    user_settings,
)
from orchestration.server.startup_lock import StartupLock

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


class SetupError(ServerError):
    """Prefect cannot be used with the folder or the settings that it has. The text says what to set."""


class _Environment:
    """Variables of this process's environment, until they are put back."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)
        self._before = {name: os.environ.get(name) for name in values}
        os.environ.update(values)

    def put_back(self) -> None:
        """Give each the value that it had, unless someone else has changed it since."""
        for name, before in self._before.items():
            if os.environ.get(name) != self._values[name]:
                continue
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before


class ConfiguredServer:
    """The server that the user has set, and that answers.

    Until it is closed, the environment of this process has the authentication string of one that was started from here.
    """

    # What is to be reported of the server; empty where there is nothing.
    notice = ""

    # Whether it is used in place of the one that the user has set, which cannot be reached.
    is_substitute = False

    def __init__(self, url: str = "") -> None:
        """Look up its authentication string."""
        auth = find_auth_string(url, os.environ, Path.cwd())
        self._environment = _Environment({"PREFECT_API_AUTH_STRING": auth} if auth else {})

    def wait_until_ready(self, on_wait: Callable[[float], None]) -> None:
        """Return at once."""

    def close(self) -> None:
        """Leave it running: it is the user's. The next run of this process looks for its server anew."""
        self._environment.put_back()
        find_or_start_server.cache_clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class NoServer(ConfiguredServer):
    """No server at all: there is none that could be started."""

    def __init__(self, why: str) -> None:
        """``why`` says in words why not."""
        super().__init__()
        self._why = why

    def wait_until_ready(self, on_wait: Callable[[float], None]) -> None:
        """Raise ``ServerError``."""
        raise ServerError(self._why)


class LocalServer(ConfiguredServer):
    """A server in a process of its own, with its database in Prefect's home.

    It answers nobody but this run: a secret is made for it, which only the environments of both have. Until it is
    closed, the environment of this process leads to it.
    """

    def __init__(self, notice: str = "") -> None:
        """Start it; ``notice`` is what is to be reported of it. Raises ``ServerError``."""
        self.notice = notice
        self.is_substitute = bool(notice)
        secret = f"imageferry:{secrets.token_urlsafe(32)}"
        try:
            # Bound here, so that no other process can take the port meanwhile; clients that come early wait.
            self._socket = socket.create_server(("127.0.0.1", 0))
            self._output = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
            # It reads its settings here, where no file sets any.
            self._folder = tempfile.mkdtemp(prefix="imageferry-")
        except OSError as error:
            raise ServerError(f"Prefect's server cannot start: {error}") from None
        port = self._socket.getsockname()[1]
        self.api_url = f"http://127.0.0.1:{port}/api"
        self._process = subprocess.Popen(
            module_command("orchestration.server.own_server", str(self._socket.fileno()), str(Path.cwd())),
            env=_environment(self.api_url, secret, self._folder),
            pass_fds=[self._socket.fileno()],
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            # An interrupt at the terminal is for the run, which still has its history to write.
            start_new_session=True,
        )
        named = [name for name in own_server_settings(os.environ, Path.cwd()) if "_DATABASE_" in name]
        self._database = f" with the database of {named[0]}" if named else ""
        self._environment = _Environment(_client_environment(self.api_url, secret, port))
        self._closed = False
        _running.append(self)

    def wait_until_ready(self, on_wait: Callable[[float], None]) -> None:
        """Wait until the server answers. ``on_wait`` is called with the seconds waited. Raises ``ServerError``."""
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < START_LIMIT:
            on_wait(waited)
            if self.has_ended:
                raise ServerError(f"Prefect's server cannot start{self._database}: {self._last_line()}")
            # The socket listens before the server does: the answer is there as soon as it can be.
            if ask_health(self.api_url, 1.0) == 200:
                # It has the socket: were it open here too, one that died would seem to listen still.
                self._socket.close()
                return
            time.sleep(0.02)
        raise ServerError(f"Prefect's server did not answer within {START_LIMIT:.0f} s: {self._last_line()}")

    @property
    def has_ended(self) -> bool:
        """Whether its process is gone: it does not come back."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Have the server write what it still has, and end; put the environment back. Does not wait for its end."""
        if self._closed:
            return
        self._closed = True
        _running.remove(self)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._socket.close()
        self._output.close()
        # It has removed it, unless it ended before that.
        shutil.rmtree(self._folder, ignore_errors=True)
        super().close()

    def _last_line(self) -> str:
        self._output.seek(0)
        return last_line(self._output.read().decode(errors="replace"), "it said nothing")


# Those of this process that are not closed.
_running: list[LocalServer] = []


def is_gone_for_good(url: str) -> bool:
    """Whether this API is a server of our own whose process has ended: there is nothing to wait for."""
    return any(server.api_url == url and server.has_ended for server in _running)


def configured_server() -> ConfiguredServer:
    """Return the server that the user has set.

    Raises ``ServerError`` where none is set, or it does not answer, and ``SetupError``.
    """
    if problem := settings_problem(os.environ, Path.cwd()):
        raise SetupError(problem)
    settings = user_settings(os.environ, Path.cwd())
    url = settings.get("PREFECT_API_URL")
    if not url:
        raise ServerError("no Prefect server is set: export PREFECT_API_URL=http://SERVER:4200/api")
    # Whatever the status: Prefect Cloud refuses those who do not say who they are, and is there.
    answer = ask_api(url, settings)
    if answer.status is None:
        raise ServerError(f"no Prefect server answers at {url}: {answer.problem}")
    return _set_server(url, answer.problem)


@functools.cache
def find_or_start_server() -> ConfiguredServer:
    """Return the run's Prefect server: the user's where it answers, else one of our own that starts with this call.

    One of our own takes seconds to start, in which other things can be done. It is the same at each call until it is
    closed, and ends at the latest when this process does. Raises ``ServerError``, ``SetupError``.
    """
    if problem := settings_problem(os.environ, Path.cwd()):
        raise SetupError(problem)
    settings = user_settings(os.environ, Path.cwd())
    url = settings.get("PREFECT_API_URL")
    if not url:
        return LocalServer()
    answer = ask_api(url, settings)
    if answer.status is not None:
        return _set_server(url, answer.problem)
    return LocalServer(f"no Prefect server at {url} ({answer.problem}); a local one keeps this run's history")


def _set_server(url: str, problem: str) -> ConfiguredServer:
    server = ConfiguredServer(url)
    if problem:
        server.notice = f"the Prefect server at {url} cannot be used: {problem}"
    return server


def _environment(url: str, secret: str, folder: str) -> dict[str, str]:
    """Return the environment of the server: of the user's settings those alone that belong to the database."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    kept = own_server_settings(os.environ, Path.cwd())
    return {
        **project_environment(given),
        **SERVER_DEFAULTS,
        **kept,
        "PREFECT_HOME": str(prefect_home(os.environ)),
        "PREFECT_PROFILES_PATH": str(Path(folder, "profiles.toml")),
        "PREFECT_API_URL": url,
        "PREFECT_API_AUTH_STRING": secret,
        "PREFECT_SERVER_API_AUTH_STRING": secret,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": url.removesuffix("/api"),
        "PREFECT_UI_ENABLED": "0",
        # What Prefect's own ephemeral server is given.
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }


def _client_environment(url: str, secret: str, port: int) -> dict[str, str]:
    """Return what leads this process to the server, and sends it nothing that is meant for another."""
    direct = ",".join(filter(None, [os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), f"127.0.0.1:{port}"]))
    values = {
        "PREFECT_API_URL": url,
        "PREFECT_API_AUTH_STRING": secret,
        # Prefect asks this machine too by way of a proxy of the environment.
        "no_proxy": direct,
        "NO_PROXY": direct,
    }
    if any(name.startswith("PREFECT_CLIENT_CUSTOM_HEADERS") for name in user_settings(os.environ, Path.cwd())):
        values["PREFECT_CLIENT_CUSTOM_HEADERS"] = "{}"
    return values


def serve(descriptor: int, folder: str) -> None:
    """Serve Prefect's API on the socket until standard input ends. ``folder`` is the one of the run."""
    # The database has the key of the blocks in it.
    os.umask(0o077)
    close_database(prefect_home(os.environ))
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
    # The settings are read: a path in them may be relative to the folder of the run.
    with contextlib.suppress(OSError):
        started_in = Path.cwd()
        os.chdir(folder)
        started_in.rmdir()
    config = uvicorn.Config(create_app, factory=True, log_level="error", lifespan="on")
    with StartupLock(prefect_home(os.environ)) as lock:

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                lock.release()

        server = Server(config)
        serving.append(server)
        server.run(sockets=[socket.socket(fileno=descriptor)])


def _watch(serving: list[uvicorn.Server]) -> None:
    """Wait until standard input ends, then have the server write what it still has, and end."""
    # Not sys.stdin: Python aborts a process that ends while a thread reads it.
    while os.read(0, 1024):
        pass
    for server in serving:
        server.should_exit = True
        time.sleep(STOP_LIMIT)
    os._exit(1)


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
