"""Two registries that are in sync, and nights: some images change at the source, then a run copies what is new."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.tools.imageferry import ROOT
from testkit.registries.inprocess import FakeRegistry


@dataclass(frozen=True)
class Night:
    """One night's run: from when to when, and how many images it copied."""

    begun: datetime
    ended: datetime
    flow_run_id: str
    copied: int


class Mirror:
    """A source of so many tags in so many repositories, and a destination that has them all.

    In process, and of tiny images: a database knows neither of time nor of bytes.
    """

    def __init__(self, folder: Path, tags: int, repositories: int) -> None:
        self._folder = folder
        self._tags = tags
        self._repositories = repositories
        self._turn = 0
        self._source, self._destination = FakeRegistry(), FakeRegistry()
        folder.mkdir()
        for registry in (self._source, self._destination):
            for number in range(tags):
                self._put(registry, number, "first")

    def __enter__(self) -> Self:
        self._source.__enter__()
        self._destination.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._destination.__exit__(kind, error, trace)
        self._source.__exit__(kind, error, trace)

    def change(self, images: int) -> None:
        """Give so many tags a new image: a new layer and a new config over the layers that all images share."""
        for number in range(self._turn, self._turn + images):
            self._put(self._source, number % self._tags, f"turn {number}")
        self._turn += images

    def sync(self, api_url: str, settings: dict[str, str]) -> Night:
        """Run once against a Prefect server. Raises ``RuntimeError`` where not all went well."""
        hosts = self._source.host, self._destination.host
        names = [f"team/app{number}" for number in range(self._repositories)]
        images = {f"{hosts[0]}/{name}": f"{hosts[1]}/{name}" for name in names}
        config = {"auth": {host: {"insecure": True} for host in hosts}, "images": images}
        (self._folder / "config.json").write_text(json.dumps(config))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        given = {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(self._folder / "client"), "PREFECT_API_URL": api_url}
        begun = datetime.now(UTC)
        ran = subprocess.run(
            [sys.executable, "-m", "flows.sync", "--quiet", "--report", "report.json"],
            cwd=self._folder,
            env=kept | given | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode or "incomplete" in ran.stderr:
            raise RuntimeError(f"a night's run ended with {ran.returncode}: {ran.stdout[-2000:]}{ran.stderr[-2000:]}")
        for registry in (self._source, self._destination):
            registry.log.clear()
        report: dict[str, Any] = json.loads((self._folder / "report.json").read_text())
        return Night(begun, datetime.now(UTC), report["flow_run_id"], report["totals"]["copied"])

    def _put(self, registry: FakeRegistry, number: int, turn: str) -> None:
        shared = [f"shared {layer}".encode() for layer in range(3)]
        own = f"{turn} of {number}".encode()
        registry.image(f"team/app{number % self._repositories}", f"v{number}", [*shared, own])
