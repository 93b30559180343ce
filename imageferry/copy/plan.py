"""What the rules have to do: which of their images are not at their destinations, found with a HEAD a side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from imageferry.concurrency import for_each
from imageferry.copy.errors import Interrupted
from imageferry.copy.job import CopyJob
from imageferry.copy.known_contents import KnownContents
from imageferry.copy.manifest_budget import ManifestBudget, ManifestReader
from imageferry.copy.options import Options
from imageferry.copy.platforms import filter_platforms
from imageferry.copy.registries import Registries
from imageferry.copy.results import Results
from imageferry.errors import ImageferryError, InvalidReference
from imageferry.model import Destination, Rule
from imageferry.reference import Reference, check_tag
from imageferry.registry import Descriptor
from imageferry.registry.client import PAGE
from imageferry.registry.errors import InvalidResponse, LoginFailed, NotFound, RegistryError
from imageferry.report.outcomes import ImageOutcome, Outcome
from imageferry.text import escape_control

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
    """Plans each rule once a run, whoever asks first."""

    def __init__(self, registries: Registries, results: Results, known: KnownContents, options: Options) -> None:
        self._registries = registries
        self._results = results
        self._known = known
        self._options = options
        self._budget = ManifestBudget(SHARES)
        self._plans: dict[str, asyncio.Task[list[CopyJob]]] = {}
        self._given_up: set[str] = set()

    async def plan(self, rule: Rule) -> list[CopyJob]:
        """Compare a rule's images with its destinations; return what is left to copy.

        Images that are up to date, skipped or cannot be compared are recorded. Never raises: a rule that cannot be
        planned costs itself alone.
        """
        if rule.name not in self._plans:
            self._plans[rule.name] = asyncio.create_task(self._plan(rule))
        return await asyncio.shield(self._plans[rule.name])

    async def plan_all(self, rules: Iterable[Rule]) -> None:
        """Plan several rules side by side."""

        async def plan(rule: Rule) -> None:
            await self.plan(rule)

        await for_each(rules, RULES_PLANNED_AT_ONCE, plan)

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
                self._fail(rule, Interrupted("interrupted before its images were compared"))

    async def _plan(self, rule: Rule) -> list[CopyJob]:
        planning = _RulePlanning(rule, self._registries, self._results, self._known, self._options, budget=self._budget)
        try:
            images = await planning.list_images()
        except Exception as error:
            # Whatever it is, the other rules go on.
            self._fail(rule, error)
            return []
        self._results.add_planned(len(images) * len(rule.destinations))
        await planning.list_destination_tags(len(images))
        await for_each(images, IMAGES_COMPARED_AT_ONCE, planning.compare)
        return [planning.jobs[source] for source, _ in images if source in planning.jobs]

    def _fail(self, rule: Rule, error: BaseException) -> None:
        """Record a rule without a plan as failed, as it is written: the whole of it is to be run again."""
        self._results.fail_rule(rule, rule.platforms or self._options.platforms, error)


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
        budget: ManifestBudget,
    ) -> None:
        self._rule = rule
        self._registries = registries
        self._results = results
        self._known = known
        self._options = options
        self._budget = budget
        self._platforms = rule.platforms or options.platforms
        self.jobs: dict[Reference, CopyJob] = {}
        # The tags of a destination, where all of them are known.
        self._tags: dict[str, frozenset[str]] = {}

    async def list_images(self) -> list[tuple[Reference, list[Reference]]]:
        """Return each source image with its destinations. Raises ``ImageferryError``."""
        source = self._rule.source
        if source.items:
            return [
                (item, [_reference_at(each, item, number) for each in self._rule.destinations])
                for number, item in enumerate(source.items)
            ]
        tags = self._select_valid(await self._registries.tags(source.repository))
        items = [source.repository.at(tag) for tag in tags]
        return [(item, [_reference_at(each, item, 0) for each in self._rule.destinations]) for item in items]

    def _select_valid(self, listed: Iterable[str]) -> list[str]:
        """Return the tags of a list that the rule is for; record each entry that is no tag as failed."""
        select = self._rule.source.pattern.select if self._rule.source.pattern else list
        valid: list[str] = []
        odd: list[str] = []
        for entry in listed:
            try:
                valid.append(check_tag(entry))
            except InvalidReference as error:
                # Escaped, as an expression cannot be searched for in what is no text.
                if select([escape_control(entry)]):
                    odd.append(str(error))
        repository = self._rule.source.repository
        more = [f"so it is with {len(odd) - ODD_ENTRIES:,} more entries"] if len(odd) > ODD_ENTRIES else []
        for reason in odd[:ODD_ENTRIES] + more:
            problem = InvalidResponse(f"copy an entry of the tags of {repository}", reason)
            self._results.fail_rule(self._rule, self._platforms, problem)
        selected = select(valid)
        _refuse_one_name(self._rule, selected)
        return selected

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
                found = {destination: digest for destination, digest in outdated.items() if digest}
                self.jobs[source] = CopyJob(source, tuple(outdated), self._platforms, found=found)
        except Exception as error:
            # Whatever it is, the other images go on.
            self._fail(source, destinations, error)

    async def _filter_outdated(self, source: Reference, destinations: list[Reference]) -> dict[Reference, str | None]:
        """Return the destinations to copy to, each with the digest that it has under this name, None for nothing.

        The others are up to date or have failed, and are recorded so.
        """
        if self._options.force:
            return dict.fromkeys(destinations)
        answers = await asyncio.gather(*(self._head_or_fail(source, each) for each in destinations))
        found = {answer[0]: answer[1].digest if answer[1] else None for answer in answers if answer is not None}
        if not any(found.values()):
            return found
        try:
            wanted = await self._find_wanted_digest(source, found)
        except ImageferryError as error:
            self._fail(source, found, error)
            return {}
        for destination in [each for each, digest in found.items() if digest and digest == wanted]:
            del found[destination]
            self._results.add(
                ImageOutcome(
                    source=str(source), destination=str(destination), outcome=Outcome.UP_TO_DATE, digest=wanted
                )
            )
        return found

    async def _head_or_fail(
        self, source: Reference, destination: Reference
    ) -> tuple[Reference, Descriptor | None] | None:
        """Return the destination and what it has; None, with the failure recorded, where that cannot be known."""
        try:
            return destination, await self._head(destination)
        except ImageferryError as error:
            self._fail(source, [destination], error)
            return None

    async def _find_wanted_digest(self, source: Reference, found: Mapping[Reference, str | None]) -> str | None:
        """Return the digest that a destination should have; None where only reading the image will show it.

        ``found`` has the digests that the destinations have.
        """
        if source.digest and not self._platforms:
            return source.digest
        root = await self._registries.head(source)
        if root is None or not self._platforms:
            return root.digest if root else None
        repository = await self._registries.source(source)
        # The type that comes with HEAD may be wrong: what is not said to be an index is looked at, at a destination
        # that has it, where no pulls are counted.
        same = next((destination for destination, digest in found.items() if digest == root.digest), None)
        at = repository if same is None or root.is_index else await self._registries.destination(same)

        async def filter_root(reader: ManifestReader) -> str | None:
            try:
                manifest = await reader.read(at, root.digest)
            except RegistryError:
                if at is repository:
                    raise
                # An account that may write need not read.
                manifest = await reader.read(repository, root.digest)
            if not manifest.is_index:
                # A single image is judged when it is copied.
                return manifest.digest
            with reader.hold(manifest):
                image = await filter_platforms(manifest, repository, self._platforms, reader)
            return image.root.digest if image.root else None

        return await self._budget.spend(source, filter_root)

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
                if pages >= images and len(page) >= (repository.tags.page_size or PAGE):
                    # To go on would cost more than a HEAD for each image.
                    return
        except NotFound:
            self._known.add_empty(repository)
        except ImageferryError:
            # The HEAD of each image reports what is wrong.
            return
        self._tags[destination.name] = frozenset(tags)

    async def _report_dry_run(self, source: Reference, destinations: Iterable[Reference]) -> None:
        """Record what would be done with an image."""
        try:
            digest = await self._budget.spend(source, lambda reader: self._find_copied_digest(source, reader))
        except ImageferryError as error:
            self._fail(source, destinations, error)
            return
        outcome = Outcome.WOULD_COPY if digest else Outcome.SKIPPED
        for destination in destinations:
            self._results.add(
                ImageOutcome(source=str(source), destination=str(destination), outcome=outcome, digest=digest)
            )

    async def _find_copied_digest(self, source: Reference, reader: ManifestReader) -> str | None:
        """Return the digest that a copy would have; None if the filter leaves nothing. Raises ``ImageferryError``."""
        repository = await self._registries.source(source)
        if self._platforms:
            root = await reader.read(repository, source.target)
            with reader.hold(root):
                image = await filter_platforms(root, repository, self._platforms, reader)
            return image.root.digest if image.root else None
        found = await self._registries.head(source)
        # Some answer 404 to every HEAD, though GET works.
        return found.digest if found else (await reader.read(repository, source.target)).digest

    def _fail(self, source: Reference, destinations: Iterable[Reference], error: BaseException) -> None:
        for destination in destinations:
            self._results.fail(str(source), str(destination), self._platforms, error)


def _reference_at(destination: Destination, source: Reference, number: int) -> Reference:
    """Return an image's name at a destination: the ``number``-th that is written there, else the source's own."""
    if destination.targets:
        return destination.repository.at(destination.targets[number])
    return destination.repository.at(source.tag or source.target)


def _refuse_one_name(rule: Rule, tags: list[str]) -> None:
    """Raise ``ImageferryError`` where several tags match a pattern and a destination has a name for one."""
    named = next((each for each in rule.destinations if each.targets), None)
    if named is not None and len(tags) > 1:
        some = ", ".join(tags[:5]) + (", …" if len(tags) > 5 else "")
        raise ImageferryError(
            f"{rule.name} matches {len(tags):,} tags ({some}), which would all end as {named.targets[0]} at "
            f"{named.repository}: match one, or leave the destination's tag out"
        )
