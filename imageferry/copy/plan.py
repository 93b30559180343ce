"""What a rule has to do: which of its images are not at their destinations, found with a HEAD a side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from imageferry.concurrency import for_each
from imageferry.copy.job import CopyJob
from imageferry.copy.platforms import filter_platforms
from imageferry.errors import ImageferryError, InvalidReference
from imageferry.model import Destination, Rule
from imageferry.reference import Reference, check_tag
from imageferry.registry import Descriptor
from imageferry.registry.errors import InvalidResponse, LoginFailed, NotFound, RegistryError
from imageferry.registry.manifest import INDEX_TYPES
from imageferry.registry.tags import PAGE
from imageferry.report.outcomes import ImageOutcome, Outcome

if TYPE_CHECKING:
    from imageferry.copy.engine import Engine

#: Images of one rule that are compared at the same time; the registries' own limits lie below.
IMAGES_COMPARED_AT_ONCE = 32


async def plan_rule(engine: Engine, rule: Rule) -> list[CopyJob]:
    """Compare a rule's images with its destinations; note those that are up to date, skipped or cannot be compared.

    Gives what is left to copy. Never raises: a rule that cannot be planned costs itself alone.
    """
    planning = _Planning(engine, rule)
    try:
        items = await planning.items()
    except Exception as error:
        # Whatever it is, the other rules go on.
        fail_rule(engine, rule, error)
        return []
    engine.outcomes.planned += len(items) * len(rule.destinations)
    await planning.look_up_destinations(len(items))
    await for_each(items, IMAGES_COMPARED_AT_ONCE, planning.compare)
    return [planning.found[source] for source, _ in items if source in planning.found]


def fail_rule(engine: Engine, rule: Rule, error: BaseException) -> None:
    """Note a rule that has no plan as failed, as it is written: what is run again is the whole of it."""
    engine.outcomes.planned += len(rule.destinations)
    for written in rule.written or tuple(str(place.repository) for place in rule.destinations):
        engine.note_failure(rule.name, written, rule.platforms, error)


class _Planning:
    """One rule that is being planned."""

    def __init__(self, engine: Engine, rule: Rule) -> None:
        self._ferry = engine
        self._rule = rule
        self._platforms = rule.platforms or engine.options.platforms
        self.found: dict[Reference, CopyJob] = {}
        #: For a destination, its tags where all of them are known.
        self._tags: dict[str, frozenset[str]] = {}

    async def items(self) -> list[tuple[Reference, list[Reference]]]:
        """Give each source image with its destinations. Raises ``ImageferryError``."""
        source = self._rule.source
        if source.items:
            return [
                (item, [_target(place, item, number) for place in self._rule.destinations])
                for number, item in enumerate(source.items)
            ]
        tags: Iterable[str] = await self._ferry.tags(source.repository)
        if source.pattern:
            tags = source.pattern.select(tags)
        items = (source.repository.at(_checked(tag, source.repository)) for tag in tags)
        return [(item, [_target(place, item, 0) for place in self._rule.destinations]) for item in items]

    async def look_up_destinations(self, images: int) -> None:
        """List the tags that destinations have, where that costs fewer requests than it spares."""
        if images > 1 and not self._ferry.options.force:
            await asyncio.gather(*(self._list(place.repository, images) for place in self._rule.destinations))

    async def compare(self, item: tuple[Reference, list[Reference]]) -> None:
        """Compare one image with each of its destinations."""
        source, places = item
        try:
            lacking = await self._lacking(source, places)
            if lacking and self._ferry.options.dry_run:
                await self._announce(source, lacking)
            elif lacking:
                self.found[source] = CopyJob(source, tuple(lacking), self._platforms)
        except Exception as error:
            # Whatever it is, the other images go on.
            for place in places:
                self._ferry.note_failure(str(source), str(place), self._platforms, error)

    async def _lacking(self, source: Reference, places: list[Reference]) -> list[Reference]:
        if self._ferry.options.force:
            return places
        looks = await asyncio.gather(*(self._look(source, place) for place in places))
        comparable = [look for look in looks if look is not None]
        if not any(found for _, found in comparable):
            return [place for place, _ in comparable]
        try:
            wanted = await self._wanted(source)
        except ImageferryError as error:
            for place, _ in comparable:
                self._ferry.note_failure(str(source), str(place), self._platforms, error)
            return []
        lacking = []
        for place, found in comparable:
            if found is None or wanted is None or found.digest != wanted:
                lacking.append(place)
            else:
                outcome = ImageOutcome(
                    source=str(source), destination=str(place), outcome=Outcome.UP_TO_DATE, digest=wanted
                )
                self._ferry.outcomes.add(outcome)
        return lacking

    async def _look(self, source: Reference, place: Reference) -> tuple[Reference, Descriptor | None] | None:
        """Give what a destination has; None, and a failure noted, where it does not say."""
        try:
            return place, await self._describe(place)
        except ImageferryError as error:
            self._ferry.note_failure(str(source), str(place), self._platforms, error)
            return None

    async def _wanted(self, source: Reference) -> str | None:
        """Give the digest that a destination should have; None where it is to be seen when the image is read."""
        if source.digest and not self._platforms:
            return source.digest
        described = await self._ferry.describe(source)
        if described is None or described.media_type not in INDEX_TYPES or not self._platforms:
            return described.digest if described else None
        repository = await self._ferry.source(source)
        chosen = await filter_platforms(await repository.manifests.get(described.digest), repository, self._platforms)
        return chosen.root.digest if chosen.root else None

    async def _describe(self, place: Reference) -> Descriptor | None:
        """Ask what the destination has under this name; None for nothing, or where only the copy will tell."""
        tags = self._tags.get(place.name)
        if tags is not None and place.tag is not None and place.tag not in tags:
            return None
        repository = await self._ferry.destination(place)
        try:
            return await repository.manifests.head(place.target)
        except LoginFailed:
            raise
        except RegistryError as error:
            # Public registries answer 401, JFrog 403, others 400 or 500 for a repository that does not exist yet.
            if error.status in (400, 401, 403, 404) or "NAME_UNKNOWN" in error.codes:
                return None
            raise

    async def _list(self, destination: Reference, images: int) -> None:
        tags: set[str] = set()
        pages = 0
        try:
            repository = await self._ferry.destination(destination)
            async for page in repository.tags.pages():
                tags.update(page)
                pages += 1
                if pages >= images and len(page) >= PAGE:
                    # To go on would cost more than a look at each image.
                    return
        except NotFound:
            self._ferry.holdings.add_empty(repository)
        except ImageferryError:
            # Each image is looked up by itself, and tells what is wrong.
            return
        self._tags[destination.name] = frozenset(tags)

    async def _announce(self, source: Reference, places: list[Reference]) -> None:
        """Say of a dry run what it would do with an image."""
        try:
            repository = await self._ferry.source(source)
            root = await repository.manifests.get(source.target) if self._platforms else None
            chosen = (await filter_platforms(root, repository, self._platforms)).root if root else None
            described = chosen.descriptor if chosen else await self._ferry.describe(source)
            if described is None:
                # Some answer 404 to every HEAD, though GET works.
                described = (await repository.manifests.get(source.target)).descriptor
        except ImageferryError as error:
            for place in places:
                self._ferry.note_failure(str(source), str(place), self._platforms, error)
            return
        outcome = Outcome.SKIPPED if root is not None and chosen is None else Outcome.WOULD_COPY
        for place in places:
            self._ferry.outcomes.add(
                ImageOutcome(source=str(source), destination=str(place), outcome=outcome, digest=described.digest)
            )


def _target(destination: Destination, source: Reference, number: int) -> Reference:
    """Give an image's name at a destination: the one that is written there, else the source's tag or digest."""
    if destination.targets:
        return destination.repository.at(destination.targets[number])
    return destination.repository.at(source.tag or source.target)


def _checked(tag: str, repository: Reference) -> str:
    try:
        return check_tag(tag)
    except InvalidReference as error:
        raise InvalidResponse(f"list tags of {repository}", str(error)) from None
