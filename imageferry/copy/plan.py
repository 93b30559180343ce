"""What the rules have to do: which of their images are not at their destinations, found with a HEAD a side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from imageferry.concurrency import for_each, until_stopped
from imageferry.copy.collisions import Collisions
from imageferry.copy.errors import Interrupted
from imageferry.copy.forecast import Forecasts
from imageferry.copy.job import CopyJob
from imageferry.copy.known_contents import KnownContents
from imageferry.copy.listing import Listing
from imageferry.copy.manifest_budget import ManifestBudget
from imageferry.copy.options import Options
from imageferry.copy.registries import Registries
from imageferry.copy.results import Results
from imageferry.copy.rule_planning import RulePlanning
from imageferry.copy.upstream import Upstream
from imageferry.model import Configuration, Rule
from imageferry.registry.errors import InvalidResponse
from imageferry.tag_policy import TagSelection

# Rules that are planned at the same time; the registries' own limits lie below.
RULES_PLANNED_AT_ONCE = 16

# Entries of a tag list that are no tags, each with a line of its own in the report: a list could have millions.
ODD_ENTRIES = 20

# Images of one rule that are compared at the same time; the registries' own limits lie below.
IMAGES_COMPARED_AT_ONCE = 32

# Images of one registry that are filtered at the same time: see ``ManifestBudget``. Planning has shares of its own,
# since images that are being copied keep theirs for long.
SHARES = 16


class Planner:
    """Plans each rule once a run, whoever asks first, and not before the rules that it follows are settled.

    ``failures`` are the images that failed in planning, by source and destination; ``failed_rules`` those rules of
    which no image is known.
    """

    def __init__(
        self,
        configuration: Configuration,
        registries: Registries,
        results: Results,
        known: KnownContents,
        options: Options,
    ) -> None:
        self._configuration = configuration
        self._registries = registries
        self._results = results
        self._known = known
        self._options = options
        self._budget = ManifestBudget(SHARES)
        self._plans: dict[str, asyncio.Task[list[CopyJob]]] = {}
        self._given_up: set[str] = set()
        self._slots = asyncio.Semaphore(RULES_PLANNED_AT_ONCE)
        self.failures: list[tuple[str, str]] = []
        self.failed_rules: list[str] = []
        self.select(rule.name for rule in configuration.rules)

    def select(self, names: Iterable[str]) -> None:
        """Say which of the rules are done in this run, before the first is planned; without it, all are."""
        selected = set(names)
        rules = [rule for rule in self._configuration.rules if rule.name in selected]
        self._forecasts = Forecasts(rules if self._options.dry_run else ())
        self._upstream = Upstream(rules, self._forget)
        self._results.on_finished = self._upstream.finished
        self._listing = Listing(self._registries, self._upstream, self._forecasts, self._slots)
        self._collisions = Collisions(
            (*self._configuration.rules, *self._configuration.others),
            selected,
            self._options.platforms,
            registries=self._registries,
            listing=self._listing,
            upstream=self._upstream,
            note=self._results.note,
        )

    async def plan(self, rule: Rule) -> list[CopyJob]:
        """Compare a rule's images with its destinations; return what is left to copy.

        Waits until the rules that it follows are settled. Images that are up to date, skipped or cannot be compared
        are recorded. Never raises: a rule that cannot be planned costs itself alone.
        """
        if rule.name not in self._plans:
            self._plans[rule.name] = asyncio.create_task(self._plan(rule))
        return await asyncio.shield(self._plans[rule.name])

    async def as_planned(
        self, rules: Iterable[Rule], stop: asyncio.Event | None = None
    ) -> AsyncIterator[tuple[Rule, list[CopyJob]]]:
        """Plan several rules side by side, and yield each with what is left to copy as soon as it is planned.

        ``stop`` ends it; plans that have begun go on.
        """
        arriving: asyncio.Queue[tuple[Rule, list[CopyJob]] | None] = asyncio.Queue()

        async def plan(rule: Rule) -> None:
            arriving.put_nowait((rule, await self.plan(rule)))

        async def plan_each() -> None:
            try:
                await self._for_each(rules, plan)
            finally:
                arriving.put_nowait(None)

        planning = asyncio.create_task(until_stopped(stop or asyncio.Event(), plan_each()))
        try:
            while (planned := await arriving.get()) is not None:
                yield planned
            await planning
        finally:
            planning.cancel()

    async def plan_all(self, rules: Iterable[Rule]) -> None:
        """Plan several rules side by side."""

        async def plan(rule: Rule) -> None:
            await self.plan(rule)

        await self._for_each(rules, plan)

    async def _for_each(self, rules: Iterable[Rule], work: Callable[[Rule], Awaitable[None]]) -> None:
        """Do the work for each rule: those that wait for others hold up none."""
        rules = list(rules)
        waiting = [rule for rule in rules if self._upstream.of(rule) or self._collisions.concern(rule)]
        apart = {rule.name for rule in waiting}
        free = (rule for rule in rules if rule.name not in apart)
        await asyncio.gather(for_each(free, RULES_PLANNED_AT_ONCE, work), for_each(waiting, len(waiting), work))

    def give_up_rest(self, rules: Iterable[Rule]) -> None:
        """Record as failed what an interrupted run did not reach: jobs that are not finished, rules without a plan."""
        for rule in rules:
            plan = self._plans.get(rule.name)
            if plan is not None and plan.done() and not plan.cancelled():
                for job in plan.result():
                    self._results.give_up(job, Interrupted("interrupted before it was copied"))
            elif rule.name not in self._given_up:
                if plan is not None:
                    plan.cancel()
                self._given_up.add(rule.name)
                self._record_failure(rule, Interrupted("interrupted before its images were compared"))

    async def _plan(self, rule: Rule) -> list[CopyJob]:
        await self._upstream.wait(rule)
        planning = RulePlanning(
            rule,
            self._registries,
            self._results,
            self._known,
            self._options,
            budget=self._budget,
            forecasts=self._forecasts,
            failures=self.failures,
        )
        try:
            sources, odd, selection = await self._listing.images(rule)
        except Exception as error:
            # Whatever it is, the other rules go on.
            self.failed_rules.append(rule.name)
            self.failures += self._record_failure(rule, error)
            self._upstream.planned(rule, ())
            return []
        for reason in odd[:ODD_ENTRIES] + _rest_of(odd):
            problem = InvalidResponse(f"copy an entry of the tags of {rule.source.repository}", reason)
            self.failures += self._record_failure(rule, problem)
        if selection is not None:
            self._results.add_selection(rule, selection)
        if not sources and not odd:
            self._results.note(_describe_nothing(rule, selection))
        images = await planning.settle_writers(sources, self._collisions)
        async with self._slots:
            await planning.list_destination_tags(len(images))
            await for_each(images, IMAGES_COMPARED_AT_ONCE, planning.compare)
        jobs = [planning.jobs[source] for source, _ in images if source in planning.jobs]
        self._upstream.planned(rule, jobs)
        return jobs

    def _record_failure(self, rule: Rule, error: BaseException) -> list[tuple[str, str]]:
        """Record a rule without a plan as failed, as it is written: the whole of it is to be run again."""
        return self._results.fail_rule(rule, rule.platforms_in(self._options.platforms), error)

    def _forget(self, rule: Rule) -> None:
        """Forget what is known of the repositories that a rule has written to, before they are read."""
        written = [destination.repository.name for destination in rule.destinations]
        self._registries.forget(written)
        self._listing.forget(written)


def _rest_of(odd: list[str]) -> list[str]:
    return [f"so it is with {len(odd) - ODD_ENTRIES:,} more entries"] if len(odd) > ODD_ENTRIES else []


def _describe_nothing(rule: Rule, selection: TagSelection | None) -> str:
    if selection is not None and selection.listed:
        return f"rule {rule.name} selects nothing: {selection.describe()}"
    which = "no tag matches its expression" if rule.source.pattern else f"{rule.source.repository} has no tags"
    return f"rule {rule.name} selects nothing: {which}"
