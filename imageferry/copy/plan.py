"""What the rules have to do: which of their images are not at their destinations, found with a HEAD a side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from imageferry.concurrency import for_each, until_stopped
from imageferry.copy.collisions import Collisions
from imageferry.copy.errors import Interrupted
from imageferry.copy.forecast import Forecasts, read_forecast
from imageferry.copy.job import CopyJob
from imageferry.copy.known_contents import KnownContents
from imageferry.copy.listing import Listing, reference_at
from imageferry.copy.options import Options
from imageferry.copy.platforms import filter_platforms
from imageferry.copy.registries import Registries
from imageferry.copy.results import Results
from imageferry.copy.upstream import Upstream
from imageferry.model import Configuration, Destination, Rule
from imageferry.reference import Reference
from imageferry.registry import Descriptor
from imageferry.registry.errors import LoginFailed, NotFound, RegistryError
from imageferry.registry.manifest import INDEX_TYPES
from imageferry.registry.tags import PAGE
from imageferry.report.outcomes import ImageOutcome, Outcome

# Rules that are planned at the same time; the registries' own limits lie below.
RULES_PLANNED_AT_ONCE = 16

# Images of one rule that are compared at the same time; the registries' own limits lie below.
IMAGES_COMPARED_AT_ONCE = 32


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
        planning = _RulePlanning(
            rule,
            self._registries,
            self._results,
            self._known,
            self._options,
            forecasts=self._forecasts,
            failures=self.failures,
        )
        try:
            sources = await self._listing.images(rule)
        except Exception as error:
            # Whatever it is, the other rules go on.
            self.failed_rules.append(rule.name)
            self.failures += self._record_failure(rule, error)
            self._upstream.planned(rule, ())
            return []
        if not sources:
            self._results.note(_describe_nothing(rule))
        images = await planning.settle_writers(sources, self._collisions)
        async with self._slots:
            await planning.list_destination_tags(len(images))
            await for_each(images, IMAGES_COMPARED_AT_ONCE, planning.compare)
        jobs = [planning.jobs[source] for source, _ in images if source in planning.jobs]
        self._upstream.planned(rule, jobs)
        return jobs

    def _record_failure(self, rule: Rule, error: BaseException) -> list[tuple[str, str]]:
        """Record a rule without a plan as failed, as it is written: the whole of it is to be run again."""
        self._results.add_planned(len(rule.destinations))
        destinations = rule.written or tuple(str(each.repository) for each in rule.destinations)
        for written in destinations:
            self._results.fail(rule.name, written, rule.platforms, error)
        return [(rule.name, written) for written in destinations]

    def _forget(self, rule: Rule) -> None:
        """Forget what is known of the repositories that a rule has written to, before they are read."""
        self._registries.forget(destination.repository.name for destination in rule.destinations)


def _describe_nothing(rule: Rule) -> str:
    which = "no tag matches its expression" if rule.source.pattern else f"{rule.source.repository} has no tags"
    return f"rule {rule.name} selects nothing: {which}"


class _RulePlanning:
    """One rule that is being planned. ``jobs`` has what there is to copy, by source."""

    def __init__(
        self,
        rule: Rule,
        registries: Registries,
        results: Results,
        known: KnownContents,
        options: Options,
        *,
        forecasts: Forecasts,
        failures: list[tuple[str, str]],
    ) -> None:
        self._rule = rule
        self._registries = registries
        self._results = results
        self._known = known
        self._options = options
        self._forecasts = forecasts
        self._failures = failures
        self._platforms = rule.platforms or options.platforms
        self._withheld: dict[Reference, tuple[Reference, ...]] = {}
        self.jobs: dict[Reference, CopyJob] = {}
        # The tags of a destination, where all of them are known.
        self._tags: dict[str, frozenset[str]] = {}

    async def settle_writers(
        self, sources: list[Reference], collisions: Collisions
    ) -> list[tuple[Reference, list[Reference]]]:
        """Return each source image with the destinations where this rule is to write it.

        Where another rule writes it is left out, and what rules would write from different images is recorded.
        """
        rule, withheld = self._rule, self._options.withheld
        shares = collisions.concern(rule)
        images = []
        for number, source in enumerate(sources):
            found = {reference_at(each, source, number): each for each in rule.destinations}
            kept = [each for each in found if str(each) not in withheld] if withheld else list(found)
            self._results.add_planned(len(kept))
            if shares:
                kept = [each for each in kept if await self._is_writer(collisions, found[each], source, each)]
            if len(kept) < len(found):
                self._withheld[source] = tuple(each for each in found if each not in kept)
            if kept:
                images.append((source, kept))
        return images

    async def _is_writer(
        self, collisions: Collisions, destination: Destination, source: Reference, target: Reference
    ) -> bool:
        try:
            writes = await collisions.is_writer(self._rule, destination, source, target)
        except Exception as error:
            self._fail(source, [target], error)
            # A rule for each of the two images would be a collision in the file of rules to run again.
            self._results.retry_as((str(source), str(target)), self._rule, destination)
            return False
        if not writes:
            self._results.add_planned(-1)
        return writes

    async def list_destination_tags(self, images: int) -> None:
        """List the tags that destinations have, where that costs fewer requests than it saves."""
        if images > 1 and not self._options.force:
            await asyncio.gather(*(self._list_tags(each.repository, images) for each in self._rule.destinations))

    async def compare(self, image: tuple[Reference, list[Reference]]) -> None:
        """Compare one image with each of its destinations."""
        source, destinations = image
        try:
            outdated = await self._filter_outdated(source, destinations)
            if outdated and self._options.dry_run:
                await self._report_dry_run(source, outdated)
            elif outdated:
                self.jobs[source] = CopyJob(
                    source,
                    tuple(outdated),
                    self._platforms,
                    rule=self._rule.name,
                    withheld=self._withheld.get(source, ()),
                )
        except Exception as error:
            # Whatever it is, the other images go on.
            self._fail(source, destinations, error)

    async def _filter_outdated(self, source: Reference, destinations: list[Reference]) -> list[Reference]:
        """Return the destinations to copy to; the others are up to date or have failed, and are recorded so."""
        if self._options.force:
            return destinations
        answers = await asyncio.gather(*(self._head_or_fail(source, each) for each in destinations))
        comparable = [answer for answer in answers if answer is not None]
        if not any(found for _, found in comparable):
            return [destination for destination, _ in comparable]
        try:
            wanted = await self._find_wanted_digest(source)
        except Exception as error:
            self._fail(source, [destination for destination, _ in comparable], error)
            return []
        outdated = []
        for destination, found in comparable:
            if found is None or wanted is None or found.digest != wanted:
                outdated.append(destination)
            else:
                self._results.add(
                    ImageOutcome(
                        source=str(source), destination=str(destination), outcome=Outcome.UP_TO_DATE, digest=wanted
                    )
                )
        return outdated

    async def _head_or_fail(
        self, source: Reference, destination: Reference
    ) -> tuple[Reference, Descriptor | None] | None:
        """Return the destination and what it has; None, with the failure recorded, where that cannot be known."""
        try:
            return destination, await self._head(destination)
        except Exception as error:
            # Whatever it is, the other destinations go on.
            self._fail(source, [destination], error)
            return None

    async def _find_wanted_digest(self, source: Reference) -> str | None:
        """Return the digest that a destination should have; None where only reading the image will show it."""
        if (forecast := self._forecasts.find(source)) is not None:
            return await read_forecast(forecast, self._registries, self._platforms)
        if source.digest and not self._platforms:
            return source.digest
        root = await self._registries.head(source)
        if root is None or root.media_type not in INDEX_TYPES or not self._platforms:
            return root.digest if root else None
        repository = await self._registries.source(source)
        image = await filter_platforms(await repository.manifests.get(root.digest), repository, self._platforms)
        return image.root.digest if image.root else None

    async def _head(self, destination: Reference) -> Descriptor | None:
        """Return what the destination has under this name; None for nothing, or where only the copy will show it."""
        tags = self._tags.get(destination.name)
        if tags is not None and destination.tag is not None and destination.tag not in tags:
            return None
        repository = await self._registries.destination(destination)
        try:
            return await repository.manifests.head(destination.target)
        except LoginFailed:
            raise
        except RegistryError as error:
            # Public registries answer 401, JFrog 403, others 400 or 500 for a repository that does not exist yet.
            if error.status in (400, 401, 403, 404) or "NAME_UNKNOWN" in error.codes:
                return None
            raise

    async def _list_tags(self, destination: Reference, images: int) -> None:
        tags: set[str] = set()
        pages = 0
        try:
            repository = await self._registries.destination(destination)
            async for page in repository.tags.pages():
                tags.update(page)
                pages += 1
                if pages >= images and len(page) >= PAGE:
                    # To go on would cost more than a HEAD for each image.
                    return
        except NotFound:
            self._known.add_empty(repository)
        except Exception:
            # Whatever it is, the HEAD of each image reports what is wrong.
            return
        self._tags[destination.name] = frozenset(tags)

    async def _report_dry_run(self, source: Reference, destinations: list[Reference]) -> None:
        """Record what would be done with an image."""
        try:
            digest, skipped = await self._foresee(source)
        except Exception as error:
            self._fail(source, destinations, error)
            return
        outcome = Outcome.SKIPPED if skipped else Outcome.WOULD_COPY
        for destination in destinations:
            if not skipped:
                self._forecasts.add(source, destination, digest, self._platforms)
            self._results.add(
                ImageOutcome(source=str(source), destination=str(destination), outcome=outcome, digest=digest)
            )

    async def _foresee(self, source: Reference) -> tuple[str, bool]:
        """Return the digest that an image would have at its destinations, and whether the filter leaves nothing."""
        if (forecast := self._forecasts.find(source)) is not None:
            digest = await read_forecast(forecast, self._registries, self._platforms)
            return digest or forecast.digest, digest is None
        repository = await self._registries.source(source)
        root = await repository.manifests.get(source.target) if self._platforms else None
        filtered = (await filter_platforms(root, repository, self._platforms)).root if root else None
        found = filtered.descriptor if filtered else await self._registries.head(source)
        if found is None:
            # Some answer 404 to every HEAD, though GET works.
            found = (await repository.manifests.get(source.target)).descriptor
        return found.digest, root is not None and filtered is None

    def _fail(self, source: Reference, destinations: Iterable[Reference], error: BaseException) -> None:
        for destination in destinations:
            self._failures.append((str(source), str(destination)))
            self._results.fail(str(source), str(destination), self._platforms, error)
