"""Imageferry: with a Prefect server of its own, with one that runs already, and its engine alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.copy_job import Command, CopyJob
from benchmarks.tools.tool import PROC, Tool
from imageferry import __version__
from testkit.prefect.server import running_server

ROOT = Path(__file__).resolve().parents[2]


class PrefectSide:
    """A Prefect home whose database exists, and a Prefect server that runs; both are made when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._home: Path | None = None
        self._resources = ExitStack()
        self._url = ""

    def home(self) -> Path:
        """Return a home to copy: a run that has nothing to do has made its database."""
        if self._home is None:
            folder = self._folder / "first"
            folder.mkdir(parents=True)
            home = folder / "prefect"
            # Nobody listens at port 9: the run fails, and the database is there.
            config = {"auth": {}, "images": {"127.0.0.1:9/none:v1": "127.0.0.1:9/other"}}
            (folder / "config.json").write_text(json.dumps(config))
            words = [sys.executable, "-m", "flows.sync", "--quiet", "--retries", "0"]
            environment = _environment() | {"PREFECT_HOME": str(home)}
            subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=False)
            if not (home / "prefect.db").exists():
                raise RuntimeError("a first run of Imageferry has made no Prefect database")
            self._wait_until_closed(home)
            self._home = home
        return self._home

    def server_url(self) -> str:
        """Return the API's address of a server that is started once."""
        if not self._url:
            self._url = self._resources.enter_context(running_server(self._folder / "server")).api.url
        return self._url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    @staticmethod
    def _wait_until_closed(home: Path) -> None:
        """Wait until the run's own server, which ends a little after it, has closed the database."""
        until = time.monotonic() + 15
        while time.monotonic() < until and (home / "prefect.db-wal").exists():
            time.sleep(0.2)


class _Command(Tool):
    """The command line, with a configuration file of a rule a repository."""

    program = sys.executable
    # More words for the command line.
    flags: tuple[str, ...] = ()

    def version(self) -> str | None:
        """Return Imageferry's version."""
        return __version__

    def command(self, errand: CopyJob, folder: Path) -> Command:
        """Write the configuration and return the command."""
        (folder / "config.json").write_text(json.dumps(_config(errand)))
        words = [sys.executable, "-m", "flows.sync", "--config", str(folder / "config.json")]
        words += ["--report", str(folder / "report.json"), "--proc", str(PROC), "--quiet", *self.flags]
        return Command(words, {"PYTHONPATH": str(ROOT), **self.environment(folder)})

    def environment(self, folder: Path) -> dict[str, str]:
        """Say which Prefect it is to use."""
        raise NotImplementedError


class Ephemeral(_Command):
    """As anyone runs it who has no Prefect server."""

    name = "imageferry"
    settings = f"`python -m flows.sync --proc {PROC}`; no Prefect server runs, Prefect's database exists"

    def __init__(self, prefect: PrefectSide) -> None:
        self._prefect = prefect

    def environment(self, folder: Path) -> dict[str, str]:
        """A home of its own, a copy of the prepared one."""
        shutil.copytree(self._prefect.home(), folder / "prefect")
        return {"PREFECT_HOME": str(folder / "prefect")}


class WithServer(_Command):
    """As it runs where a Prefect server is."""

    name = "imageferry +server"
    settings = (
        f"`python -m flows.sync --proc {PROC}`; a Prefect server runs already, with the batch sizes that Imageferry's "
        "own server has; that server's CPU time and memory are not counted"
    )

    def __init__(self, prefect: PrefectSide) -> None:
        self._prefect = prefect

    def environment(self, folder: Path) -> dict[str, str]:
        """An empty home, and the server's address."""
        return {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_URL": self._prefect.server_url()}


class WithoutHistory(_Command):
    """Without Prefect: what is left is the copying, and the start of Python."""

    name = "imageferry --no-history"
    settings = f"`python -m flows.sync --no-history --proc {PROC}`: no Prefect at all"
    flags = ("--no-history",)

    def environment(self, folder: Path) -> dict[str, str]:
        """Nothing more."""
        return {}


def _environment() -> dict[str, str]:
    """Return the environment without what it says of Prefect and of proxies."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PREFECT_") and not name.lower().endswith("_proxy")
    }
    return kept | {"PYTHONPATH": str(ROOT)}


def _config(errand: CopyJob) -> dict[str, Any]:
    auth = {side.host: {"ca_file": str(side.ca_file)} if side.ca_file else {"insecure": True} for side in errand.sides}
    return {"auth": auth, "images": rules(errand)}


def rules(errand: CopyJob) -> dict[str, list[str]]:
    """Return the rules as Imageferry and image-syncer read them."""
    named = [
        (repository, f":{tag}" if errand.each_tag else "")
        for repository, tags in errand.digests.items()
        for tag in (tags if errand.each_tag else [""])
    ]
    return {
        f"{errand.source.host}/{repository}{tag}": [f"{side.host}/{repository}" for side in errand.destinations]
        for repository, tag in named
    }
