"""Prefect's own command line and the programs of `deployments`, each a process, against a server of a test."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testkit.command_line import LIMIT, ROOT, Finished
from testkit.processes import end


@dataclass(frozen=True)
class Programs:
    """Runs modules with a server's address, a Prefect home of their own and a docker config that no one else uses."""

    home: Path
    api_url: str | None

    def environment(self) -> dict[str, str]:
        """Return the environment: nothing of the developer's own Prefect or docker in it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        given = {
            "PYTHONPATH": str(ROOT),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")]),
            "DOCKER_CONFIG": str(self.home),
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }
        if self.api_url:
            given["PREFECT_API_URL"] = self.api_url
        return kept | given

    def run(self, *words: str, folder: Path = ROOT) -> Finished:
        """Run `python -m` with the words to its end."""
        finished = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        return Finished(finished.returncode, finished.stdout, finished.stderr)

    def deploy(self) -> None:
        """Put the work pool, the blocks' forms and the deployments on the server, as `make deploy` does."""
        for words in (
            ("deployments.work_pool",),
            ("prefect", "block", "register", "-m", "orchestration.blocks.block_types"),
            ("prefect", "--no-prompt", "deploy", "--all"),
        ):
            finished = self.run(*words)
            assert finished.status == 0, finished.both

    @contextmanager
    def running(self, *words: str, until: str, folder: Path = ROOT) -> Iterator["subprocess.Popen[str]"]:
        """Start `python -m` with the words, go on once it has printed `until`, and end it with the context."""
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=folder,
            env=self.environment() | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        printed: list[str] = []
        ready = threading.Event()

        def read() -> None:
            for line in process.stdout or ():
                printed.append(line)
                if until in line:
                    ready.set()
            ready.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            assert ready.wait(LIMIT), "".join(printed)
            assert process.poll() is None, "".join(printed)
            yield process
        finally:
            end(process, 30)
            reader.join(10)
            process.stdout.close()
