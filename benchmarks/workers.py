"""The same work with 1, 2 and 4 workers of a Prefect work pool: ``python -m benchmarks.workers``.

Each worker is a process of its own with one place (``--limit 1``), as that many machines would be: what it measures is
the pool, and not how many runs share one machine. Registries, server and workers share this machine's cores, so more
workers than these gain nothing. PREFECT_API_DATABASE_CONNECTION_URL says which database the server uses; the CPU that a
database's own processes take is not counted.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclopts import App

from benchmarks.storage import Storage, Stored
from testkit.prefect.server import PrefectServer, running_server
from testkit.processes import end
from testkit.registries.distribution import DistributionRegistry

ROOT = Path(__file__).resolve().parent.parent
DATABASE = "PREFECT_API_DATABASE_CONNECTION_URL"

# Seconds between two looks at what another process does, and those for which nothing more comes at the end.
LOOK = 0.5
STILL = 3.0

# Seconds between two scheduled runs of the deployment that is timed.
INTERVAL = 5

app = App(name="python -m benchmarks.workers", help="The same work with 1, 2 and 4 workers of a Prefect work pool.")


@dataclass(frozen=True)
class Row:
    """What one number of workers made of the work."""

    workers: int
    seconds: float
    images: int
    bytes: int
    server_cpu: float
    task_runs: int

    def __str__(self) -> str:
        each = 1000 * self.server_cpu / max(1, self.task_runs)
        return (
            f"{self.workers:>7} {self.seconds:>8.1f} {self.images / self.seconds:>9.1f} "
            f"{self.bytes / 1e6 / self.seconds:>6.1f} {self.server_cpu:>12.1f} {self.task_runs:>10,} {each:>16.1f}"
        )


HEAD = "workers  seconds  images/s   MB/s server CPU s  task runs ms CPU/task run"


class Pool:
    """A Prefect server with the deployments, and what is asked of it."""

    def __init__(self, folder: Path, server: PrefectServer) -> None:
        self.folder = folder
        self._api = server.api
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        own = {"PREFECT_HOME": str(server.home), "PREFECT_API_URL": server.api.url, "PYTHONPATH": str(ROOT)}
        self.environment = kept | own | {"PREFECT_WORKER_QUERY_SECONDS": "1", "DOCKER_CONFIG": str(folder)}
        self._pid = server.process.pid

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start ``python -m`` with the words."""
        with (self.folder / "output.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def run(self, *words: str) -> None:
        """Run ``python -m`` with the words to its end. Raises ``RuntimeError`` where it fails."""
        if status := self.start(*words).wait():
            raise RuntimeError(f"{' '.join(words)} ended with status {status}: see {self.folder / 'output.log'}")

    def deploy(self) -> None:
        """Put the deployments on the server."""
        self.run("deployments.work_pool")
        self.run("prefect", "--no-prompt", "deploy", "--all")

    @contextlib.contextmanager
    def workers(self, count: int) -> Iterator[None]:
        """Have so many workers, each with one place, once all of them are online."""
        words = ("prefect", "worker", "start", "--pool", "imageferry", "--limit", "1", "--name")
        names = [f"{count}-{number}" for number in range(count)]
        processes = [self.start(*words, name) for name in names]
        try:
            while not {f["name"] for f in self.ask("work_pools/imageferry/workers/filter", {})}.issuperset(names):
                time.sleep(LOOK)
            yield
        finally:
            for process in processes:
                end(process, 60)

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        """Ask the API."""
        return self._api.send("POST", path, body).raise_for_status().json()

    def task_runs(self) -> int:
        """Return how many task runs the server has, once no more come."""
        count, since = -1, time.monotonic()
        while time.monotonic() - since < STILL:
            if (now := int(self.ask("task_runs/count", {}))) != count:
                count, since = now, time.monotonic()
            time.sleep(LOOK)
        return count

    def cpu(self) -> float:
        """Return the seconds of CPU that the server has taken, with the processes that it has started."""
        ticks, waiting = 0, [self._pid]
        while waiting:
            pid = waiting.pop()
            with contextlib.suppress(FileNotFoundError):
                ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    waiting += map(int, (thread / "children").read_text().split())
        return ticks / os.sysconf("SC_CLK_TCK")


def make_work(folder: Path, rules: int, images: int, size: int) -> Stored:
    """Store so many repositories of so many images, each of one shared layer and one of its own of ``size`` bytes."""
    storage = Storage(folder)
    shared = storage.layer("shared", size)
    for rule in range(rules):
        for image in range(images):
            storage.image(f"bench/app{rule}", f"v{image}", [shared, storage.layer(f"{rule} {image}", size)])
    return storage.stored


def configuration(folder: Path, source: str, destination: str, stored: Stored) -> Path:
    """Write a rule for each repository."""
    path = folder / "config.json"
    images = {f"{source}/{name}": f"{destination}/{name}" for name in stored.digests}
    path.write_text(
        json.dumps({"auth": {source: {"insecure": True}, destination: {"insecure": True}}, "images": images})
    )
    return path


def measured(pool: Pool, config: Path, workers: int) -> Row:
    """Do the work with so many workers."""
    report = config.with_suffix(".report")
    with pool.workers(workers):
        runs, cpu, begun = pool.task_runs(), pool.cpu(), time.monotonic()
        pool.run("flows.sync", "--config", str(config), "--distribute", "--report", str(report), "--quiet")
        seconds = time.monotonic() - begun
        more = pool.task_runs() - runs
        cpu = pool.cpu() - cpu
    totals = json.loads(report.read_text())["totals"]
    return Row(workers, seconds, totals["copied"], totals["bytes_written"], cpu, more)


def first_scheduled(pool: Pool, config: Path) -> tuple[float, float]:
    """Deploy with a schedule of a few seconds; return the seconds to the deployment's end, and to a run's start."""
    words = ["--name", "timed", "--pool", "imageferry", "--interval", str(INTERVAL)]
    parameters = ["--param", f"config={config}", "--param", "dry_run=true"]
    with pool.workers(1):
        begun = time.monotonic()
        pool.run("prefect", "--no-prompt", "deploy", "flows/sync.py:sync", *words, *parameters)
        deployed = time.monotonic() - begun
        at_work = {"state": {"type": {"any_": ["RUNNING", "COMPLETED"]}}}
        while not pool.ask("flow_runs/filter", {"deployments": {"name": {"any_": ["timed"]}}, "flow_runs": at_work}):
            time.sleep(LOOK)
        return deployed, time.monotonic() - begun


@app.default
def bench(workers: str = "1,2,4", rules: int = 16, images: int = 12, size: int = 1 << 20) -> int:
    """Print what each number of workers makes of the same work.

    Parameters
    ----------
    workers
        How many workers, a comma between.
    rules
        Rules, each a run on a worker.
    images
        Images of each rule.
    size
        Bytes of a layer; an image has one of its own and one that all share.
    """
    with tempfile.TemporaryDirectory(prefix="imageferry-workers-") as place:
        folder = Path(place)
        stored = make_work(folder / "content", rules, images, size)
        (folder / "source").mkdir()
        (folder / "source" / "storage").symlink_to(stored.folder)
        database = {DATABASE: os.environ[DATABASE]} if DATABASE in os.environ else {}
        with (
            running_server(folder / "prefect", database) as server,
            DistributionRegistry(folder / "source") as source,
        ):
            pool = Pool(folder, server)
            pool.deploy()
            print(f"{rules} rules of {images} images, {stored.size / 1e6:,.0f} MB; workers with --limit 1 each")
            print(HEAD, flush=True)
            for count in map(int, workers.split(",")):
                with DistributionRegistry(folder / f"destination-{count}") as destination:
                    config = configuration(folder, source.host, destination.host, stored)
                    print(measured(pool, config, count), flush=True)
            deployed, started = first_scheduled(pool, config)
            print(
                f"a schedule of {INTERVAL} s: `prefect deploy` took {deployed:.1f} s, and the first scheduled run "
                f"had begun {started:.1f} s after the command was given"
            )
    return 0


if __name__ == "__main__":
    sys.exit(app())
