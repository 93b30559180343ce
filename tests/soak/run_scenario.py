"""One seed from start to end: the registries are filled, the engine copies between them, and the end is judged."""

import asyncio
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from imageferry.report.outcomes import Report
from tests.copy.running import configured
from tests.soak.checks import Copies, causes, find_errors
from tests.soak.counts import Counts
from tests.soak.engine_run import cross, impatient
from tests.soak.registries import Place, running
from tests.soak.scenarios import Scenario

# Seconds after which a run hangs. One that fails everywhere takes some twenty.
HANGS_AFTER = 180.0


async def run_scenario(world: Scenario, folder: Path) -> Counts:
    """Run one world, and return its counts; what is wrong with its end is in ``wrong``, and then the folder is kept."""
    folder.mkdir(parents=True)
    tally = Counts(seeds=1, images=len(world.images), copies=len(world.images) * len(world.destinations))
    with ExitStack() as stack:
        source = stack.enter_context(running(world.source, folder / "source"))
        sites = [stack.enter_context(running(site, folder / f"{n}")) for n, site in enumerate(world.sites)]
        stack.enter_context(impatient())
        stack.enter_context(_log(folder / "engine.log"))
        for image in world.images:
            for document in (*image.children, image.root):
                tag = image.tag if document is image.root else None
                await asyncio.to_thread(source.store.put, image.repository, tag, document)
        passage = _ScenarioRun(world, folder, source, sites)
        faults = await passage.run("first", tally)
        if not faults and passage.failed and not world.lasts:
            # Whatever went wrong is over: the same run again must end well.
            for place in (source, *sites):
                place.heal()
            faults = await passage.run("second", tally)
            faults += [f"the second run failed, with nothing in its way: {cause}" for cause in passage.causes()]
            tally.healed += not faults
        else:
            tally.whole += not passage.failed
        _count(tally, source, sites, world)
    if faults:
        tally.wrong[f"--seed {world.seed}"] = faults
        (folder / "world.json").write_text(json.dumps(world.described(), indent=1, default=str))
    else:
        shutil.rmtree(folder)
    return tally


class _ScenarioRun:
    """The runs of one world."""

    def __init__(self, world: Scenario, folder: Path, source: Place, sites: list[Place]) -> None:
        self._world = world
        self._folder = folder
        self._source = source
        self._sites = sites
        self._report: Report | None = None

    @property
    def failed(self) -> bool:
        """Whether an image failed in the last run."""
        return self._report is not None and self._report.totals.failed > 0

    def causes(self) -> list[str]:
        """Return the causes of the last run's failures."""
        return [image.error or "" for image in self._report.images if image.error] if self._report else []

    async def run(self, which: str, tally: Counts) -> list[str]:
        """Run the engine once, and return what is wrong with the end."""
        watch = asyncio.get_running_loop().call_later(HANGS_AFTER - 1, _write_stacks, self._folder / "stacks.txt")
        try:
            async with asyncio.timeout(HANGS_AFTER):
                report = await cross(self._configuration(), proc=self._world.proc)
        except TimeoutError:
            return [f"the {which} run hangs, {HANGS_AFTER:.0f} s after its begin"]
        except Exception as error:
            logging.getLogger("imageferry").exception("the %s run broke down", which)
            return [f"the {which} run broke down: {type(error).__name__}: {error}"]
        finally:
            watch.cancel()
        self._report = report
        (self._folder / f"report-{which}.json").write_text(report.to_json())
        tally.failures.update(causes(report))
        for place in (self._source, *self._sites):
            await asyncio.to_thread(place.settle)
        return await asyncio.to_thread(find_errors, self._source, self._copies(), report)

    def _copies(self) -> Copies:
        return [
            (image, self._sites[number], f"{prefix}/{image.repository}")
            for image in self._world.images
            for number, prefix in self._world.destinations
        ]

    def _configuration(self) -> str:
        rules = {
            f"{self._source.host}/{image.repository}" + (f":{image.tag}" if self._world.by_tag else ""): [
                f"{self._sites[number].host}/{prefix}/{image.repository}" for number, prefix in self._world.destinations
            ]
            for image in self._world.images
        }
        return configured(rules, auth={place.host: place.access for place in (self._source, *self._sites)})


def _count(tally: Counts, source: Place, sites: list[Place], world: Scenario) -> None:
    for place in (source, *sites):
        tally.faults.update(place.struck)
        tally.requests += len(place.door.log)
    sent, sizes = source.read(), world.blobs
    tally.bytes_read = sum(sent.values())
    tally.read_twice = sum(max(0, count - sizes.get(digest, 0)) for digest, count in sent.items())


def _write_stacks(file: Path) -> None:
    """Write where every task is: what hangs is to be seen before it is cancelled."""
    with file.open("w") as output:
        for task in asyncio.all_tasks():
            task.print_stack(file=output)


@contextmanager
def _log(file: Path) -> Iterator[None]:
    """Write the engine's log to a file."""
    logger, handler = logging.getLogger("imageferry"), logging.FileHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    before = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()
