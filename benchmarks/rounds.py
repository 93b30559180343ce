"""The rounds: every tool in turn does the same work, and again, so that a noisy machine is noisy for all."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.environment import BenchEnvironment, Watch, opened_source
from benchmarks.row import Row
from benchmarks.storage import Stored
from benchmarks.tools.imageferry import ROOT
from benchmarks.tools.tool import Tool
from benchmarks.works import Work, make_content

# Called with a line that tells how far it is.
Say = Callable[[str], None]


class Rounds:
    """Runs tools on works in a folder, and keeps what the sources hold until the end."""

    def __init__(self, folder: Path, scale: float, limit: float, say: Say) -> None:
        self._folder = folder
        self._scale = scale
        self._limit = limit
        self._say = say
        self._contents: dict[str, Stored] = {}
        self._runs = 0

    def content(self, work: Work) -> Stored:
        """Return what the source of a work holds; made once."""
        if work.content not in self._contents:
            self._say(f"making what the source of {work.name} holds")
            folder = self._folder / "content" / work.content
            self._contents[work.content] = make_content(work.content, folder, self._scale)
        return self._contents[work.content]

    def run(self, work: Work, tools: list[Tool], rounds: int) -> Iterator[Row]:
        """Run each tool once a round, one after the other."""
        stored = self.content(work)
        with opened_source(work, stored, self._folder / f"source-{work.name}") as source:
            unable: set[str] = set()
            for number in range(1, rounds + 1):
                for tool in tools:
                    if tool.name in unable:
                        continue
                    self._runs += 1
                    stage = BenchEnvironment(work, stored, source, self._folder / f"run-{self._runs}")
                    row = self._measured(stage, tool, number)
                    if not row.able:
                        unable.add(tool.name)
                    self._say(told(row))
                    yield row

    def _measured(self, stage: BenchEnvironment, tool: Tool, number: int) -> Row:
        row = Row(stage.work.name, tool.name, number)
        with stage:
            folder = stage.folder / "client"
            folder.mkdir()
            command = tool.command(stage.errand(), folder)
            if command is None:
                row.able, row.lost = False, "it cannot do this work"
                return row
            for registry in stage.registries.values():
                registry.clear_log()
            # What is not yet written to the disk should not be written on the next one's time.
            os.sync()
            row.load = os.getloadavg()[0]
            with Watch(list(stage.registries.values())) as watch:
                figures = measure(command.words, environment(folder) | command.environment, folder, self._limit)
            row.span = watch.span
            _fill(row, figures)
            for name, registry in stage.registries.items():
                row.requests[name] = registry.counts()
                row.served[name] = sum(access.bytes_out for access in registry.requests() if access.method == "GET")
            row.reported = _reported(folder)
            row.missing = stage.missing()
            row.lost = _loss(row, figures, folder)
        return row


def measure(words: list[str], environment: dict[str, str], folder: Path, limit: float) -> dict[str, Any]:
    """Run a command by way of the program that measures it, and return its figures."""
    result = folder / "figures.json"
    program = [sys.executable, "-I", "-S", str(ROOT / "benchmarks" / "measure.py")]
    subprocess.run(
        [*program, str(result), str(folder / "output"), str(limit), *words], cwd=folder, env=environment, check=True
    )
    figures: dict[str, Any] = json.loads(result.read_bytes())
    return figures


def environment(folder: Path) -> dict[str, str]:
    """Return the environment that all tools have: nothing of the user's, and a home of their own."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "DOCKER_CONFIG": str(home / "docker"),
        "REGISTRY_AUTH_FILE": str(home / "auth.json"),
        "TMPDIR": str(home),
        "LC_ALL": "C.UTF-8",
    }


def told(row: Row) -> str:
    """Tell a row in a line."""
    head = f"{row.work}, round {row.round}, {row.tool}: "
    if not row.able:
        return head + "n/a, " + row.lost
    figures = f"{row.wall:.2f} s, CPU {row.cpu:.2f} s, {row.peak / 2**20:.0f} MiB"
    return head + figures + (f"; LOST: {row.lost}" if row.lost else "")


def _fill(row: Row, figures: dict[str, Any]) -> None:
    row.wall, row.status = figures["wall"], figures["status"]
    row.user, row.system = figures["user"], figures["system"]
    row.peak, row.least_peak = figures["peak"], figures["own"]


def _reported(folder: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError, KeyError):
        return float(json.loads((folder / "report.json").read_bytes())["seconds"])
    return None


def _loss(row: Row, figures: dict[str, Any], folder: Path) -> str:
    if not (figures["overdue"] or row.status or row.missing):
        return ""
    reasons = ["it took too long"] if figures["overdue"] else [f"exit status {row.status}"] if row.status else []
    if row.missing:
        reasons.append(f"tags not at their destination: {row.missing}")
    lines = (folder / "output").read_text(errors="replace").strip().splitlines() if row.status else []
    return "; ".join(reasons + ([f"its last words: {lines[-1][-300:]}"] if lines else []))
