"""Prefect's server with its UI on this machine: the one that is meant where none is set."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import NoReturn

from orchestration.own_process import module_command, project_environment
from orchestration.server.auth_string import auth_file, find_auth_string, make_auth_string
from orchestration.server.health import ask_health, last_line
from orchestration.server.own_server import ServerError, SetupError
from orchestration.server.prefect_settings import (
    LEASES,
    RETENTION,
    SERVER_DEFAULTS,
    api_url,
    close_database,
    prefect_home,
    set_defaults,
    settings_problem,
    user_settings,
)
from orchestration.server.startup_lock import StartupLock

# Where Prefect's server is by itself.
HOST, PORT = "127.0.0.1", 4200

# Seconds in which it must answer; the first start makes the database.
START_LIMIT = 180.0

_AUTH = "PREFECT_SERVER_API_AUTH_STRING"

# What is not for others: the database has the key of the blocks in it.
_MINE_ALONE = 0o077


def api_url_or_local(environment: Mapping[str, str], folder: Path) -> str:
    """Return the API of the server that is set (environment, folder, profile); where none is, of this machine's."""
    return api_url(environment, folder) or f"http://{HOST}:{PORT}/api"


def lead_to_server(environment: MutableMapping[str, str], folder: Path) -> None:
    """Set the address of that server, and the authentication string of one that was started from here.

    Raises ``SetupError`` where Prefect cannot use its folder or the files of its settings.
    """
    if problem := settings_problem(environment, folder):
        raise SetupError(problem)
    environment["PREFECT_API_URL"] = url = api_url_or_local(environment, folder)
    if auth := find_auth_string(url, environment, folder):
        environment["PREFECT_API_AUTH_STRING"] = auth


def start_local_server(port: int = PORT) -> str:
    """Start it, with settings that suit long histories, and wait until it answers; return what to print of it.

    One that answers at the port already is left alone. Raises ``ServerError`` where it does not come up, and
    ``SetupError`` where it has no folder.
    """
    url = f"http://{HOST}:{port}"
    environment = _environment(port)
    home = prefect_home(environment)
    if ask_health(f"{url}/api") == 200:
        return f"there already: {url}"
    pid_file, output = home / "server.pid", home / f"imageferry-server-{port}.log"
    _remove_stale(pid_file)
    with StartupLock(home):
        process = _start(_command(port), environment, output)
        # `prefect server stop` reads it.
        pid_file.write_text(str(process.pid))
        try:
            _wait_until_it_answers(process, f"{url}/api", output)
        except ServerError:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            pid_file.unlink(missing_ok=True)
            raise
    lines = [f"Prefect's server and its UI: {url}"]
    if environment.get(_AUTH) and _AUTH not in user_settings(os.environ, Path.cwd()):
        file = shlex.quote(str(auth_file(home, port)))
        lines += [
            f"the UI asks for what is in {file}; deploy, worker and sync find it there, and Prefect's own commands by",
            f'  export PREFECT_API_URL={url}/api PREFECT_API_AUTH_STRING="$(cat {file})"',
        ]
    return "\n".join([*lines, f"its log: {output}", f"to stop it: {_prefect()} server stop"])


def run_local_server(port: int = PORT) -> NoReturn:
    """Be that server, in place of this process, until a signal ends it: for systemd. Raises ``SetupError``."""
    environment = _environment(port)
    os.umask(_MINE_ALONE)
    command = _command(port)
    os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted


def _environment(port: int) -> dict[str, str]:
    """Return the environment of the server: what the user has set stands."""
    if problem := settings_problem(os.environ, Path.cwd()):
        raise SetupError(problem)
    url = f"http://{HOST}:{port}"
    environment = project_environment(os.environ)
    home = prefect_home(environment)
    close_database(home)
    # A page of another origin must not read what is here with the browser of someone who may.
    origins = {"PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{url},http://localhost:{port}"}
    set_defaults(environment, SERVER_DEFAULTS | RETENTION | LEASES | origins)
    if _AUTH not in user_settings(os.environ, Path.cwd()):
        try:
            environment[_AUTH] = make_auth_string(home, port)
        except OSError as error:
            raise SetupError(f"{auth_file(home, port)} cannot be made: {error.strerror}") from None
    elif not environment.get(_AUTH, "-"):
        # An empty one means none. Prefect would take it for a string.
        del environment[_AUTH]
    if _AUTH in environment:
        # What it asks of its own API.
        environment["PREFECT_API_AUTH_STRING"] = environment[_AUTH]
    # The UI in the browser asks here, whatever server this shell is set to.
    return environment | {"PREFECT_UI_API_URL": f"{url}/api", "PREFECT_API_URL": f"{url}/api"}


def _command(port: int) -> list[str]:
    return module_command("prefect", "server", "start", "--host", HOST, "--port", str(port))


def _start(command: list[str], environment: Mapping[str, str], output: Path) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, so that neither a terminal nor a pipe that closes ends it."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=_MINE_ALONE,
        )
    finally:
        os.close(descriptor)


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, output: Path) -> None:
    begun = time.monotonic()
    while process.poll() is None and time.monotonic() - begun < START_LIMIT:
        if ask_health(url) == 200:
            return
        time.sleep(0.2)
    said = last_line(output.read_text(errors="replace"), f"it did not answer within {START_LIMIT:.0f} s")
    raise ServerError(f"Prefect's server did not start at {url.removesuffix('/api')}: {said} (its log: {output})")


def _remove_stale(pid_file: Path) -> None:
    """Remove the file of a server that is gone. Raises ``ServerError`` where one of this home runs at another port."""
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        pid = 0
    if pid > 0 and _is_server(pid):
        raise ServerError(
            f"a Prefect server with the folder {pid_file.parent} is running already (process {pid}): "
            f"stop it with {_prefect()} server stop"
        )
    pid_file.unlink(missing_ok=True)


def _is_server(pid: int) -> bool:
    """Whether a process of this number is there, and is a Prefect server as far as the system tells."""
    try:
        os.kill(pid, 0)
        return b"prefect" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except ProcessLookupError:
        return False
    except OSError:
        # Another user's, or a system without /proc.
        return not Path("/proc/self").exists()


def _prefect() -> str:
    program = Path(sys.executable).with_name("prefect")
    return str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)
