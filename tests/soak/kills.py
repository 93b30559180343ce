"""Copies that are killed at a random moment, and begun again."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from imageferry.copy.transfer import SMALL_BLOB_LIMIT
from imageferry.report.outcomes import Report
from testkit.command_line import ROOT, CommandLine
from testkit.prefect.server import PrefectServer, running_server
from testkit.registries import actions
from testkit.registries.fault_rules import Fault
from testkit.registries.quirks import Quirks
from tests.copy.running import configured
from tests.soak.checks import Copies, broken_tags, find_errors
from tests.soak.counts import Counts
from tests.soak.images import MIB, Image, make_large_images
from tests.soak.registries import SoakRegistry, running
from tests.soak.scenarios import Site

# Every so many kills are of the whole command, which starts ten times as slowly as the engine alone.
COMMAND_EVERY = 6

# Seconds after which a run hangs.
HANGS_AFTER = 180.0


class Killer:
    """Kills copies between registries of these kinds. Prefect's server is started for the first that needs it."""

    def __init__(self, folder: Path, kinds: tuple[str, ...]) -> None:
        self._folder = folder
        self._kinds = kinds
        self._server: PrefectServer | None = None
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def kill(self, number: int) -> Counts:
        """Do one kill, and return its counts; what is wrong is in ``wrong``."""
        folder = self._folder / f"kill-{number}"
        folder.mkdir(parents=True)
        rng = Random(f"kill {number}")
        by_command = number % COMMAND_EVERY == COMMAND_EVERY - 1
        start = self._command(folder) if by_command else _engine(folder)
        with ExitStack() as stack:
            source = stack.enter_context(running(Site(rng.choice(self._kinds)), folder / "source"))
            # One in process takes a tag whatever it names: there the order of the copying is all.
            site = Site(rng.choice(self._kinds), Quirks(check_references=False))
            destination = stack.enter_context(running(site, folder / "destination"))
            counts = _Kill(rng, source, destination, folder, start).run()
        counts.kills_of_the_command = int(by_command)
        if faults := counts.wrong.pop("", None):
            counts.wrong[f"--kill {number}"] = faults
        return counts

    def _command(self, folder: Path) -> "Start":
        if self._server is None:
            self._server = self._resources.enter_context(running_server(self._folder / "prefect"))
        line = CommandLine(folder, self._server.api.url, self._server.home)
        return lambda: line.start("--config", "config.json", "--report", "report.json", "--quiet")


Start = Callable[[], "subprocess.Popen[str]"]
"""Begins a run in a process of its own, of config.json, which leaves report.json."""


Kept = tuple[str, str]
"""A repository, and the digest of a blob in it."""


def _engine(folder: Path) -> Start:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DOCKER_CONFIG": str(folder)}
    words = [sys.executable, "-m", "tests.soak.engine_run", "config.json", "report.json"]
    return lambda: subprocess.Popen(
        words,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@dataclass
class _Kill:
    """One copy that is killed at a moment drawn from the seed, and begun again."""

    rng: Random
    source: SoakRegistry
    destination: SoakRegistry
    folder: Path
    start: Start

    def run(self) -> Counts:
        """Kill, look, run again, look again; what is wrong stands under an empty name in ``wrong``."""
        load = make_large_images(self.rng)
        for image in load:
            for document in (*image.children, image.root):
                self.source.store.put(image.repository, image.tag if document is image.root else None, document)
        copies: Copies = [(image, self.destination, f"copy/{image.repository}") for image in load]
        registries = (self.source, self.destination)
        rules = {f"{self.source.host}/{name}": f"{self.destination.host}/copy/{name}" for name in _repositories(load)}
        text = configured(rules, auth={registry.host: registry.access for registry in registries})
        (self.folder / "config.json").write_text(text)
        counts = Counts(kills=1)
        faults = self._kill(self._moment(load), counts) + broken_tags(copies, at_rest=False)
        for registry in registries:
            registry.settle()
        faults += broken_tags(copies)
        counts.requests = sum(len(registry.door.log) for registry in registries)
        arrived = _arrived(copies)
        counts.blobs_kept = len(arrived)
        faults += self._again(copies, arrived, counts)
        counts.requests += sum(len(registry.door.log) for registry in registries)
        if faults:
            counts.wrong[""] = faults
        else:
            shutil.rmtree(self.folder)
        return counts

    def _moment(self, load: list[Image]) -> Callable[[], bool]:
        """Draw when to kill: after so many bytes, after so many requests, or when so many manifests are put."""
        log = self.destination.door.log
        blobs = {digest: size for image in load for digest, size in image.blobs.items()}
        match self.rng.choice(["bytes", "requests", "manifests"]):
            case "bytes":
                wanted = self.rng.randint(0, int(sum(blobs.values()) * 0.95))
                return lambda: sum(entry.bytes_in for entry in log) > wanted
            case "requests":
                wanted = self.rng.randint(1, 3 * len(blobs))
                return lambda: len(log) >= wanted
            case _:
                wanted = self.rng.randint(1, sum(1 + len(image.children) for image in load) - 1)
                return lambda: len(log.entries("manifest-put")) >= wanted

    def _kill(self, is_time: Callable[[], bool], counts: Counts) -> list[str]:
        # Slow enough that every moment of the copy can be met.
        self.source.door.rules.append(Fault("blob-get", actions.slowly(self.rng.uniform(2, 8) * MIB)))
        until = time.monotonic() + HANGS_AFTER
        process = self.start()
        while process.poll() is None and not is_time():
            if time.monotonic() > until:
                process.kill()
                return [f"the first run hangs, {HANGS_AFTER:.0f} s after its begin: {_said(process)}"]
            time.sleep(0.002)
        counts.late_kills = int(process.poll() is not None)
        process.kill()
        said = _said(process)
        return [f"the first run failed by itself: {said}"] if process.returncode not in (0, -9) else []

    def _again(self, copies: Copies, arrived: set[Kept], counts: Counts) -> list[str]:
        """Run again, and return what is wrong: all must be there at the end, and nothing sent that had arrived."""
        for registry in (self.source, self.destination):
            registry.heal()
            registry.door.clear_log()
        (self.folder / "report.json").unlink(missing_ok=True)
        process = self.start()
        try:
            said = _said(process, HANGS_AFTER)
        except subprocess.TimeoutExpired:
            process.kill()
            return [f"the second run hangs, {HANGS_AFTER:.0f} s after its begin: {_said(process)}"]
        if process.returncode != 0:
            return [f"the second run ended with {process.returncode}: {said}"]
        report = Report.model_validate(json.loads((self.folder / "report.json").read_text()))
        return self._sent_again(copies, arrived, counts) + find_errors(self.source, copies, report)

    def _sent_again(self, copies: Copies, arrived: set[Kept], counts: Counts) -> list[str]:
        """Return the blobs that had arrived and were sent again, except small ones that are sent unasked.

        docker/distribution knows no repository without a tag, and where none is known small blobs are not looked up.
        """
        again = arrived & {
            (entry.repository, digest)
            for entry in self.destination.door.log.entries("upload-start", "upload-put")
            for digest in entry.query.get("digest", [])
        }
        sizes = {(repository, digest): size for image, _, repository in copies for digest, size in image.blobs.items()}
        small = {kept for kept in again if sizes[kept] <= SMALL_BLOB_LIMIT}
        counts.blobs_sent_again += len(again - small)
        counts.small_blobs_sent_again += len(small)
        faults = [f"blob {digest} of {name} had arrived, and was sent again" for name, digest in sorted(again - small)]
        uploads = self.destination.door.log.entries("upload-start", "upload-patch", "upload-put")
        sent = sum(entry.bytes_in for entry in uploads)
        lacking = sum(size for kept, size in sizes.items() if kept not in arrived or kept in small)
        if sent > lacking:
            faults.append(f"{sent:,} bytes of blobs were sent, though only {lacking:,} were lacking")
        return faults


def _said(process: "subprocess.Popen[str]", limit: float | None = None) -> str:
    """Wait for the end of a process, ``limit`` seconds at most, and return the last of what it said."""
    return "".join(filter(None, process.communicate(timeout=limit)))[-2000:]


def _repositories(load: list[Image]) -> list[str]:
    return sorted({image.repository for image in load})


def _arrived(copies: Copies) -> set[Kept]:
    """Return the repositories with the blobs that they have."""
    wanted = {(repository, digest): destination for image, destination, repository in copies for digest in image.blobs}
    return {
        (name, digest) for (name, digest), destination in wanted.items() if destination.store.has_blob(name, digest)
    }
