"""The command line as a user runs it: a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

# Seconds after which a run hangs: the first start of a server is the longest that one takes.
LIMIT = 240


@dataclass(frozen=True)
class Finished:
    """What a run left."""

    status: int
    out: str
    err: str

    @property
    def both(self) -> str:
        """Both outputs."""
        return self.out + self.err


@dataclass
class CommandLine:
    """Runs `python -m flows.sync` in a folder, with a Prefect home and a docker config that no one else uses."""

    folder: Path
    api_url: str | None = None
    home: Path | None = None
    more: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Return the environment of a run: nothing of the developer's own Prefect or docker in it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        docker = self.folder / "docker"
        docker.mkdir(exist_ok=True)
        given = {
            "PYTHONPATH": str(ROOT),
            "DOCKER_CONFIG": str(docker),
            "PREFECT_HOME": str(self.home or self.folder / "prefect"),
        }
        if self.api_url:
            given["PREFECT_API_URL"] = self.api_url
        return kept | given | self.more

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a run and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "flows.sync", *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> Finished:
        """Run to the end."""
        return self.finish(self.start(*arguments))

    def finish(self, process: "subprocess.Popen[str]") -> Finished:
        """Wait for the end of a run that was started."""
        try:
            out, err = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"it hangs:\n{out}\n{err}") from None
        return Finished(process.returncode, out, err)

    def config(self, document: Any, name: str = "config.json") -> str:
        """Write a configuration file and return its name."""
        (self.folder / name).write_text(document if isinstance(document, str) else json.dumps(document))
        return name

    def report(self, name: str = "report.json") -> dict[str, Any]:
        """Read a report that a run has written."""
        report: dict[str, Any] = json.loads((self.folder / name).read_text())
        return report


def insecure(*hosts: str) -> dict[str, Any]:
    """Return `auth` entries for registries that speak plain HTTP."""
    return {host: {"insecure": True} for host in hosts}
