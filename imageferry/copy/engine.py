"""The engine of a run: plans rules, copies images, and records what became of them."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Iterable, Mapping

from imageferry.copy.blob_move import BlobMover, move_with_retries
from imageferry.copy.blobs import BlobDistributor
from imageferry.copy.image import ImageCopier
from imageferry.copy.job import CopyJob
from imageferry.copy.known_contents import KnownContents
from imageferry.copy.manifest_budget import ManifestBudget
from imageferry.copy.options import Options
from imageferry.copy.plan import Planner
from imageferry.copy.registries import Registries
from imageferry.copy.results import Results
from imageferry.credentials.keychain import default_keychain
from imageferry.model import Configuration, Rule
from imageferry.registry.limits.registry_limits import RunLimits
from imageferry.report.outcomes import Outcomes


class Engine:
    """Makes and joins the parts of a run. Open it with ``async with``; it belongs to the event loop it is opened in.

    ``mover`` moves the blobs; without one the engine moves them by itself, with ``options.retries`` more attempts.
    """

    def __init__(
        self,
        configuration: Configuration,
        options: Options,
        *,
        mover: BlobMover | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.configuration = configuration
        self.options = options
        self.outcomes = Outcomes()
        self.results = Results(self.outcomes)
        limits = RunLimits(configuration.settings_of, configuration.registries.values(), options.bandwidth)
        keychain = default_keychain(configuration, environment)
        self.registries = Registries(configuration, keychain, limits, self.outcomes.waits)
        known = KnownContents()
        mover = mover or functools.partial(move_with_retries, retries=options.retries)
        self._blobs = BlobDistributor(known, self.outcomes, limits, mover, options.proc)
        self._planner = Planner(configuration, self.registries, self.results, known, options)
        budget = ManifestBudget()
        self._copier = ImageCopier(self.registries, self.results, self._blobs, known, options, budget=budget)

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._blobs.aclose()
        await self.registries.aclose()

    async def plan(self, rule: Rule) -> list[CopyJob]:
        """Return what a rule has to copy: see ``Planner.plan``."""
        return await self._planner.plan(rule)

    def select(self, names: Iterable[str]) -> None:
        """Say which rules are done in this run, before the first is planned: see ``Planner.select``."""
        self._planner.select(names)

    def as_planned(
        self, rules: Iterable[Rule], stop: asyncio.Event | None = None
    ) -> AsyncIterator[tuple[Rule, list[CopyJob]]]:
        """Yield each rule with what it has to copy as soon as it is planned: see ``Planner.as_planned``."""
        return self._planner.as_planned(rules, stop)

    @property
    def plan_failures(self) -> list[tuple[str, str]]:
        """The images that failed in planning, by source and destination; a rule as a whole as it is written."""
        return self._planner.failures

    @property
    def unplanned_rules(self) -> list[str]:
        """The names of the rules of which no image is known, since they could not be listed."""
        return self._planner.failed_rules

    async def plan_all(self, rules: Iterable[Rule]) -> None:
        """Plan several rules side by side."""
        await self._planner.plan_all(rules)

    async def copy(self, job: CopyJob) -> None:
        """Copy one image. Raises ``DeliveryError``: see ``ImageCopier.copy``."""
        await self._copier.copy(job)

    def give_up(self, job: CopyJob, error: BaseException) -> None:
        """Record every destination of the job that is not finished as failed: see ``Results.give_up``."""
        self.results.give_up(job, error)

    def give_up_rest(self, rules: Iterable[Rule]) -> None:
        """Record what an interrupted run did not reach as failed: see ``Planner.give_up_rest``."""
        self._planner.give_up_rest(rules)
