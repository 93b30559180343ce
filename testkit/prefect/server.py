"""A Prefect server such as a user runs: `prefect server start`."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from orchestration.server.prefect_settings import SERVER_DEFAULTS
from testkit.prefect.api import PrefectApi
from testkit.processes import end, free_port

# Seconds that its first start may take: it makes its database.
START_LIMIT = 180.0


@dataclass(frozen=True)
class PrefectServer:
    """A server that runs."""

    api: PrefectApi
    home: Path
    process: "subprocess.Popen[bytes]"
    port: int


@contextmanager
def running_server(
    home: Path, settings: dict[str, str] | None = None, port: int | None = None
) -> Iterator[PrefectServer]:
    """Run a Prefect server with this home, and these settings besides those of a server of our own.

    Raises ``RuntimeError`` with the last it has printed where it does not come up.
    """
    home.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    printed = home / "server.log"
    with printed.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
            env=kept | SERVER_DEFAULTS | {"PREFECT_HOME": str(home)} | (settings or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        url = f"http://127.0.0.1:{port}/api"
        try:
            if not _comes_up(url, process):
                raise RuntimeError(f"Prefect's server did not start: {printed.read_text()[-2000:]}")
            yield PrefectServer(PrefectApi(url), home, process, port)
        finally:
            end(process)


def _comes_up(url: str, process: "subprocess.Popen[bytes]") -> bool:
    until = time.monotonic() + START_LIMIT
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/health").is_success:
                return True
        except httpx.TransportError:
            time.sleep(0.2)
    return False
