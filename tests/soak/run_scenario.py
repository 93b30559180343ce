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
from tests.soak.engine_run import impatient, run_engine
from tests.soak.registries import SoakRegistry, running
from tests.soak.scenarios import Scenario

# Seconds after which a run hangs. One that fails everywhere takes some twenty.
HANGS_AFTER = 180.0


async def run_scenario(scenario: Scenario, folder: Path) -> Counts:
    """Run one scenario and return its counts; what is wrong is in ``wrong``, and then the folder is kept."""
    folder.mkdir(parents=True)
    counts = Counts(seeds=1, images=len(scenario.images), copies=len(scenario.images) * len(scenario.destinations))
    with ExitStack() as stack:
        source = stack.enter_context(running(scenario.source, folder / "source"))
        sites = [stack.enter_context(running(site, folder / f"{n}")) for n, site in enumerate(scenario.sites)]
        stack.enter_context(impatient())
        stack.enter_context(_log(folder / "engine.log"))
        for image in scenario.images:
            for document in (*image.children, image.root):
                tag = image.tag if document is image.root else None
                await asyncio.to_thread(source.store.put, image.repository, tag, document)
        runs = _ScenarioRun(scenario, folder, source, sites)
        faults = await runs.run("first", counts)
        if not faults and runs.failed and not scenario.lasts:
            # Whatever went wrong is over: the same run again must end well.
            for registry in (source, *sites):
                registry.heal()
            faults = await runs.run("second", counts)
            faults += [f"the second run failed, with nothing in its way: {cause}" for cause in runs.causes()]
            counts.healed += not faults
        else:
            counts.whole += not runs.failed
        _count(counts, source, sites, scenario)
    if faults:
        counts.wrong[f"--seed {scenario.seed}"] = faults
        (folder / "scenario.json").write_text(json.dumps(scenario.described(), indent=1, default=str))
    else:
        shutil.rmtree(folder)
    return counts


class _ScenarioRun:
    """The runs of one scenario."""

    def __init__(self, scenario: Scenario, folder: Path, source: SoakRegistry, sites: list[SoakRegistry]) -> None:
        self._scenario = scenario
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

    async def run(self, which: str, counts: Counts) -> list[str]:
        """Run the engine once, and return what is wrong with the end."""
        watch = asyncio.get_running_loop().call_later(HANGS_AFTER - 1, _write_stacks, self._folder / "stacks.txt")
        try:
            async with asyncio.timeout(HANGS_AFTER):
                report = await run_engine(self._configuration(), proc=self._scenario.proc)
        except TimeoutError:
            return [f"the {which} run hangs, {HANGS_AFTER:.0f} s after its begin"]
        except Exception as error:
            logging.getLogger("imageferry").exception("the %s run broke down", which)
            return [f"the {which} run broke down: {type(error).__name__}: {error}"]
        finally:
            watch.cancel()
        self._report = report
        (self._folder / f"report-{which}.json").write_text(report.to_json())
        counts.failures.update(causes(report))
        for registry in (self._source, *self._sites):
            await asyncio.to_thread(registry.settle)
        return await asyncio.to_thread(find_errors, self._source, self._copies(), report)

    def _copies(self) -> Copies:
        return [
            (image, self._sites[number], f"{prefix}/{image.repository}")
            for image in self._scenario.images
            for number, prefix in self._scenario.destinations
        ]

    def _configuration(self) -> str:
        rules = {
            f"{self._source.host}/{image.repository}" + (f":{image.tag}" if self._scenario.by_tag else ""): [
                f"{self._sites[number].host}/{prefix}/{image.repository}"
                for number, prefix in self._scenario.destinations
            ]
            for image in self._scenario.images
        }
        return configured(rules, auth={registry.host: registry.access for registry in (self._source, *self._sites)})


def _count(counts: Counts, source: SoakRegistry, sites: list[SoakRegistry], scenario: Scenario) -> None:
    for registry in (source, *sites):
        counts.faults.update(registry.struck)
        counts.requests += len(registry.door.log)
    sent, sizes = source.read(), scenario.blobs
    counts.bytes_read = sum(sent.values())
    counts.read_twice = sum(max(0, count - sizes.get(digest, 0)) for digest, count in sent.items())


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
