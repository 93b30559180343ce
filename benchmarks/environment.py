"""The registries of a work: a source that stays, and destinations that are made anew for each run."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from benchmarks.copy_job import CopyJob, Side
from benchmarks.storage import Stored
from benchmarks.tools.imageferry import ROOT
from benchmarks.works import Work
from testkit.registries.distribution import DistributionRegistry

# Seconds between two looks at the access logs.
LOOK = 0.005

_ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


class BenchEnvironment:
    """The source of a work, and the destinations of a run. Open it with ``with`` for each run."""

    def __init__(self, work: Work, stored: Stored, source: DistributionRegistry, folder: Path) -> None:
        self.work = work
        self.source = source
        self.folder = folder
        self.destinations: list[DistributionRegistry] = []
        self._stored = stored
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> BenchEnvironment:
        self.folder.mkdir(parents=True)
        try:
            for number in range(self.work.destinations):
                place = self.folder / f"destination-{number + 1}"
                if self.work.up_to_date:
                    shutil.copytree(self._stored.folder, place / "storage")
                registry = DistributionRegistry(place, tls=self.work.tls)
                self.destinations.append(self._resources.enter_context(registry))
        except BaseException:
            self._resources.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def registries(self) -> dict[str, DistributionRegistry]:
        """All registries by what they are called in the results."""
        if len(self.destinations) == 1:
            return {"source": self.source, "destination": self.destinations[0]}
        numbered = {f"destination {number}": place for number, place in enumerate(self.destinations, 1)}
        return {"source": self.source, **numbered}

    def errand(self) -> CopyJob:
        """Say what is to be done; far registries are spoken to through a process that delays."""
        return CopyJob(
            source=self._side(self.source),
            destinations=tuple(map(self._side, self.destinations)),
            digests=self._stored.digests,
            each_tag=self.work.each_tag,
            folder=self.folder,
            image=self._stored.last if self.work.one_blob else None,
        )

    def missing(self) -> int:
        """Count the tags that are not at a destination as they are in the source."""
        return sum(_missing(place, self._stored.digests) for place in self.destinations)

    def _side(self, registry: DistributionRegistry) -> Side:
        if not self.work.round_trip:
            return Side(registry.host, registry.ca_file)
        port = self._resources.enter_context(_far(registry.host.rpartition(":")[2], self.work.round_trip))
        return Side(f"127.0.0.1:{port}", registry.ca_file)


class Watch:
    """Looks at access logs as they grow, to tell the time from the first request's end to the last's."""

    def __init__(self, registries: list[DistributionRegistry]) -> None:
        self._logs = [registry.folder / "access.log" for registry in registries]
        self._sizes = self._look()
        self._first = self._last = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def span(self) -> float:
        """Seconds between the first and the last line that came."""
        return self._last - self._first

    def _look(self) -> list[int]:
        return [log.stat().st_size for log in self._logs]

    def _watch(self) -> None:
        while not self._ended.wait(LOOK):
            if (sizes := self._look()) != self._sizes:
                self._sizes, self._last = sizes, monotonic()
                self._first = self._first or self._last


@contextlib.contextmanager
def opened_source(work: Work, stored: Stored, folder: Path) -> Iterator[DistributionRegistry]:
    """Start a source with what is stored; it is only read, so that several works can share it."""
    folder.mkdir(parents=True)
    (folder / "storage").symlink_to(stored.folder)
    with DistributionRegistry(folder, tls=work.tls) as registry:
        yield registry


@contextlib.contextmanager
def _far(port: str, round_trip: float) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.latency", port, str(round_trip)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def _missing(place: DistributionRegistry, digests: dict[str, dict[str, str]]) -> int:
    context = place.client_context()
    connection = (
        http.client.HTTPSConnection(place.host, timeout=60, context=context)
        if context
        else http.client.HTTPConnection(place.host, timeout=60)
    )
    missing = 0
    with contextlib.closing(connection):
        for repository, tags in digests.items():
            for tag, digest in tags.items():
                connection.request("HEAD", f"/v2/{repository}/manifests/{tag}", headers={"Accept": _ACCEPT})
                answer = connection.getresponse()
                answer.read()
                missing += answer.status != 200 or answer.headers["Docker-Content-Digest"] != digest
    return missing
