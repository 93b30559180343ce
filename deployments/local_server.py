"""Prefect's server with its UI on this machine: `python -m deployments.local_server start`.

`url` instead prints which server is meant where none is set: this one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import httpx
from cyclopts import App, Parameter

from cli.exit_codes import DONE, FAILED
from orchestration.server.prefect_settings import SERVER_DEFAULTS, api_url, set_defaults

#: Where Prefect's server is by itself.
HOST, PORT = "127.0.0.1", 4200

#: Seconds in which it must answer; the first start makes the database.
START_LIMIT = 180.0

#: How long runs and events are kept: as with the systemd unit and the compose file.
RETENTION = {
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": "P90D",
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P2D",
}

app = App(name="python -m deployments.local_server", help="Prefect's server with its UI on this machine.")


@app.command
def url() -> int:
    """Print the API of the server that is set (environment, folder, profile); where none is, of this machine's."""
    print(api_url(os.environ, Path.cwd()) or f"http://{HOST}:{PORT}/api")
    return DONE


@app.command
def start(port: Annotated[int, Parameter(help="the port of the API and the UI")] = PORT) -> int:
    """Start it in the background, with settings that suit long histories, and wait until it answers."""
    where = f"http://{HOST}:{port}"
    if _answers(where):
        print(f"there already: {where}")
        return DONE
    set_defaults(os.environ, SERVER_DEFAULTS | RETENTION)
    # The UI in the browser asks here, whatever server this shell is set to.
    environment = os.environ | {"PREFECT_UI_API_URL": f"{where}/api", "PREFECT_API_URL": f"{where}/api"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--background", "--host", HOST, "--port", str(port)]
    said = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    begun = time.monotonic()
    while said.returncode == 0 and time.monotonic() - begun < START_LIMIT:
        if _answers(where):
            print(f"Prefect's server and its UI: {where}\nto stop it: {_prefect()} server stop")
            return DONE
        time.sleep(0.2)
    print(f"Prefect's server did not start at {where}: {_last_line(said.stdout + said.stderr)}", file=sys.stderr)
    return FAILED


def _answers(where: str) -> bool:
    try:
        return httpx.get(f"{where}/api/health", timeout=5.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _prefect() -> str:
    program = Path(sys.executable).with_name("prefect")
    return str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else f"it did not answer within {START_LIMIT:.0f} s"


if __name__ == "__main__":
    raise SystemExit(app())
