"""Prefect's server with its UI on this machine, in the background: the one that is meant where none is set."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from orchestration.own_process import module_command, project_environment
from orchestration.server.health import ask_health, last_line
from orchestration.server.own_server import ServerError
from orchestration.server.prefect_settings import RETENTION, SERVER_DEFAULTS, api_url, set_defaults

# Where Prefect's server is by itself.
HOST, PORT = "127.0.0.1", 4200

# Seconds in which it must answer; the first start makes the database.
START_LIMIT = 180.0


def api_url_or_local(environment: Mapping[str, str], folder: Path) -> str:
    """Return the API of the server that is set (environment, folder, profile); where none is, of this machine's."""
    return api_url(environment, folder) or f"http://{HOST}:{PORT}/api"


def start_local_server(port: int = PORT) -> str:
    """Start it, with settings that suit long histories, and wait until it answers; return what to print of it.

    One that answers at the port already is left alone. Raises ``ServerError`` where it does not come up.
    """
    url = f"http://{HOST}:{port}"
    if ask_health(f"{url}/api") == 200:
        return f"there already: {url}"
    environment = project_environment(os.environ)
    set_defaults(environment, SERVER_DEFAULTS | RETENTION)
    # The UI in the browser asks here, whatever server this shell is set to.
    environment |= {"PREFECT_UI_API_URL": f"{url}/api", "PREFECT_API_URL": f"{url}/api"}
    command = module_command("prefect", "server", "start", "--background", "--host", HOST, "--port", str(port))
    started = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    begun = time.monotonic()
    while started.returncode == 0 and time.monotonic() - begun < START_LIMIT:
        if ask_health(f"{url}/api") == 200:
            return f"Prefect's server and its UI: {url}\nto stop it: {_prefect()} server stop"
        time.sleep(0.2)
    output = last_line(started.stdout + started.stderr, f"it did not answer within {START_LIMIT:.0f} s")
    raise ServerError(f"Prefect's server did not start at {url}: {output}")


def _prefect() -> str:
    program = Path(sys.executable).with_name("prefect")
    return str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)
