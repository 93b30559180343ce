"""The plan of one rule: each of its images is compared with its destinations."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from imageferry.copy.collisions import Collisions
from imageferry.copy.errors import OtherContent
from imageferry.copy.forecast import Forecasts, read_forecast
from imageferry.copy.job import CopyJob
from imageferry.copy.known_contents import KnownContents
from imageferry.copy.listing import reference_at
from imageferry.copy.manifest_budget import ManifestBudget, ManifestReader
from imageferry.copy.options import Options
from imageferry.copy.platforms import filter_platforms
from imageferry.copy.registries import Registries
from imageferry.copy.results import Results
from imageferry.model import Destination, Rule
from imageferry.reference import Reference
from imageferry.registry import Descriptor
from imageferry.registry.client import PAGE
from imageferry.registry.errors import LoginFailed, NotFound, RegistryError
from imageferry.report.outcomes import ImageOutcome, Outcome

# Up to so many images of a rule that keeps tags, these are looked up rather than all tags listed.
LOOKED_UP = 3


class RulePlanning:
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
        forecasts: Forecasts,
        failures: list[tuple[str, str]],
    ) -> None:
        self._rule = rule
        self._registries = registries
        self._results = results
        self._known = known
        self._options = options
        self._budget = budget
        self._forecasts = forecasts
        self._failures = failures
        self._platforms = rule.platforms_in(options.platforms)
        self._existing = rule.existing
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
        looked_up = LOOKED_UP if self._existing.keeps_some else 1
        if images > looked_up and not self._options.force:
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
                    found={destination: digest for destination, digest in outdated.items() if digest},
                    rule=self._rule.name,
                    withheld=self._withheld.get(source, ()),
                    existing=self._existing,
                )
        except Exception as error:
            # Whatever it is, the other images go on.
            self._fail(source, destinations, error)

    async def _filter_outdated(self, source: Reference, destinations: list[Reference]) -> dict[Reference, str | None]:
        """Return the destinations to copy to, each with the digest that it has under this name, None for nothing.

        The others are up to date or kept, or have failed, and are recorded so.
        """
        if self._options.force:
            return dict.fromkeys(destinations)
        destinations = [each for each in destinations if not self._keep_listed(source, each)]
        answers = await asyncio.gather(*(self._head_or_fail(source, each) for each in destinations))
        found = {answer[0]: answer[1].digest if answer[1] else None for answer in answers if answer is not None}
        for destination in [each for each, digest in found.items() if digest and self._existing.keeps(each.tag)]:
            self._add(source, destination, Outcome.KEPT, found.pop(destination))
        if not any(found.values()):
            return found
        try:
            wanted = await self._find_wanted_digest(source, found)
        except Exception as error:
            self._fail(source, found, error)
            return {}
        for destination in [each for each, digest in found.items() if digest and digest == wanted]:
            del found[destination]
            self._add(source, destination, Outcome.UP_TO_DATE, wanted)
        return await self._refuse_other_content(source, found, wanted)

    def _keep_listed(self, source: Reference, destination: Reference) -> bool:
        """Return whether a tag stays as it is because the destination's list has it; it is recorded so."""
        tags = self._tags.get(destination.name, ())
        if destination.tag not in tags or not self._existing.keeps(destination.tag):
            return False
        self._add(source, destination, Outcome.KEPT, None)
        return True

    async def _refuse_other_content(
        self, source: Reference, found: dict[Reference, str | None], wanted: str | None
    ) -> dict[Reference, str | None]:
        """Return what is left to copy; a tag with other content than ``wanted`` has failed where the rule says so."""
        refused = {
            each: digest for each, digest in found.items() if digest and self._existing.refuses_other_content(each.tag)
        }
        if not refused:
            return found
        if wanted is None or self._platforms:
            # Whether a filter leaves anything of a single image, and what a source that does not answer HEAD has, is
            # seen where it is read.
            try:
                wanted = await self._budget.spend(source, lambda reader: self._find_copied_digest(source, reader))
            except Exception as error:
                self._fail(source, found, error)
                return {}
        if wanted is None:
            return found
        for destination, digest in refused.items():
            del found[destination]
            if digest == wanted:
                self._add(source, destination, Outcome.UP_TO_DATE, wanted)
            else:
                self._fail(source, [destination], OtherContent(str(destination.tag), digest, wanted))
        return found

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

    async def _find_wanted_digest(self, source: Reference, found: Mapping[Reference, str | None]) -> str | None:
        """Return the digest that a destination should have; None where only reading the image will show it.

        ``found`` has the digests that the destinations have.
        """
        if (forecast := self._forecasts.find(source)) is not None:
            return await self._budget.spend(
                source, lambda reader: read_forecast(forecast, self._registries, self._platforms, reader)
            )
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
        except NotFound as error:
            if self._existing.keeps_some and "NAME_UNKNOWN" not in error.codes:
                # It may have no such list: what is to be kept is looked up.
                return
            self._known.add_empty(repository)
        except Exception:
            # Whatever it is, the HEAD of each image reports what is wrong.
            return
        self._tags[destination.name] = frozenset(tags)

    async def _report_dry_run(self, source: Reference, destinations: Iterable[Reference]) -> None:
        """Record what would be done with an image."""
        try:
            digest = await self._budget.spend(source, lambda reader: self._find_copied_digest(source, reader))
        except Exception as error:
            self._fail(source, destinations, error)
            return
        outcome = Outcome.WOULD_COPY if digest else Outcome.SKIPPED
        for destination in destinations:
            if digest:
                self._forecasts.add(source, destination, digest, self._platforms)
            self._add(source, destination, outcome, digest)

    async def _find_copied_digest(self, source: Reference, reader: ManifestReader) -> str | None:
        """Return the digest that a copy would have; None if the filter leaves nothing. Raises ``ImageferryError``."""
        if (forecast := self._forecasts.find(source)) is not None:
            return await read_forecast(forecast, self._registries, self._platforms, reader)
        repository = await self._registries.source(source)
        if self._platforms:
            root = await reader.read(repository, source.target)
            with reader.hold(root):
                image = await filter_platforms(root, repository, self._platforms, reader)
            return image.root.digest if image.root else None
        found = await self._registries.head(source)
        # Some answer 404 to every HEAD, though GET works.
        return found.digest if found else (await reader.read(repository, source.target)).digest

    def _add(self, source: Reference, destination: Reference, outcome: Outcome, digest: str | None) -> None:
        self._results.add(
            ImageOutcome(source=str(source), destination=str(destination), outcome=outcome, digest=digest)
        )

    def _fail(self, source: Reference, destinations: Iterable[Reference], error: BaseException) -> None:
        for destination in destinations:
            self._failures.append((str(source), str(destination)))
            self._results.fail(str(source), str(destination), self._platforms, error, self._existing)
