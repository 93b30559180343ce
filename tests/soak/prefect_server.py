"""A Prefect server such as a user runs, for all commands that are killed; started when the first one asks."""

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx

from flows.settings import SERVER_DEFAULTS
from tests.registries.distribution import free_port

#: Seconds that its first start may take: it makes its database.
START_LIMIT = 180.0


class PrefectServer:
    """A server with its database in ``home``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def url(self) -> str:
        """Give the address of its API, once it answers."""
        if self._process is None:
            self._start()
        return self._url

    def stop(self) -> None:
        """Stop it, if it was started."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)

    def _start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self._url = f"http://127.0.0.1:{port}/api"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        log = self.home / "server.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
                env=kept | SERVER_DEFAULTS | {"PREFECT_HOME": str(self.home)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        until = time.monotonic() + START_LIMIT
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if httpx.get(f"{self._url}/health").is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.2)
        self.stop()
        raise RuntimeError(f"Prefect's server did not start: {log.read_text()[-2000:]}")
