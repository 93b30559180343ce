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

from flows.settings import SERVER_DEFAULTS
from tests.flows.prefect_api import PrefectApi
from tests.registries.distribution import free_port

START_LIMIT = 180


@dataclass(frozen=True)
class PrefectServer:
    """A server that runs."""

    api: PrefectApi
    home: Path
    process: "subprocess.Popen[bytes]"


@contextmanager
def running_server(home: Path, settings: dict[str, str] | None = None) -> Iterator[PrefectServer]:
    """Run a Prefect server with this home, and these settings besides those of a server of our own."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
            env=kept | SERVER_DEFAULTS | {"PREFECT_HOME": str(home)} | (settings or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        url = f"http://127.0.0.1:{port}/api"
        try:
            _wait_until_healthy(url, process)
            yield PrefectServer(PrefectApi(url), home, process)
        finally:
            process.terminate()
            process.wait(20)


def _wait_until_healthy(url: str, process: "subprocess.Popen[bytes]") -> None:
    begun = time.monotonic()
    while time.monotonic() - begun < START_LIMIT:
        assert process.poll() is None, "the Prefect server has ended"
        try:
            if httpx.get(f"{url}/health").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError("the Prefect server does not answer")
