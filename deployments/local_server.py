"""Prefect's server with its UI on this machine: `python -m deployments.local_server start`.

`url` instead prints which server is meant where none is set: this one.
"""

from __future__ import annotations

import os
from pathlib import Path

from cyclopts import App

from cli.exit_codes import DONE
from cli.server import server
from orchestration.server.local_server import api_url_or_local

app = App(name="python -m deployments.local_server", help="Prefect's server with its UI on this machine.")
app.command(server, name="start")


@app.command
def url() -> int:
    """Print the API of the server that is set (environment, folder, profile); where none is, of this machine's."""
    print(api_url_or_local(os.environ, Path.cwd()))
    return DONE


if __name__ == "__main__":
    raise SystemExit(app())
