"""The images that a rule selects: those that it names, or those that its source's repository has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from imageferry.copy.dates import Dates
from imageferry.copy.errors import TooManyMatches
from imageferry.copy.forecast import Forecasts
from imageferry.copy.registries import Registries
from imageferry.copy.upstream import Upstream
from imageferry.errors import InvalidReference
from imageferry.model import Destination, Rule
from imageferry.reference import Reference, check_tag
from imageferry.registry.errors import NotFound
from imageferry.tag_policy import TagPolicy, TagSelection, TooFewTags
from imageferry.text import escape_control


class Selected(NamedTuple):
    """The images that a rule selects; ``odd`` says of each entry of the list that is no tag what is wrong with it.

    ``selection`` is how its policy came to them, if it has one.
    """

    images: list[Reference]
    odd: list[str]
    selection: TagSelection | None = None


class Listing:
    """Selects the images of rules. ``slots`` bounds how many rules are listed at the same time."""

    def __init__(
        self, registries: Registries, upstream: Upstream, forecasts: Forecasts, slots: asyncio.Semaphore
    ) -> None:
        self._registries = registries
        self._upstream = upstream
        self._forecasts = forecasts
        self._slots = slots
        self._dates = Dates(registries)
        # One for the whole run: what is selected must not change while it goes on.
        self._now = datetime.now(UTC)
        self._expected: dict[str, asyncio.Task[dict[Reference, Reference]]] = {}

    async def images(self, rule: Rule) -> Selected:
        """Return what a rule selects now. Raises ``ImageferryError``."""
        repository = rule.source.repository
        arriving = {tag: self._forecasts.find(repository.at(tag)) for tag in self._forecasts.tags(repository)}
        origins = {tag: forecast.origin for tag, forecast in arriving.items() if forecast is not None}
        return await self._select(rule, origins)

    def forget(self, names: Iterable[str]) -> None:
        """Forget the dates of the tags of these repositories: see ``Registries.forget``."""
        self._dates.forget(names)

    async def expected(self, rule: Rule) -> dict[Reference, Reference]:
        """Return what a rule is expected to write, and from which image, once the rules that it follows are copied.

        Waits for no copy. A rule that cannot be listed is expected to write nothing: it fails by itself.
        """
        if rule.name not in self._expected:
            self._expected[rule.name] = asyncio.create_task(self._expect(rule))
        return await asyncio.shield(self._expected[rule.name])

    async def _expect(self, rule: Rule) -> dict[Reference, Reference]:
        arriving: dict[str, Reference] = {}
        if not rule.source.items:
            for other in self._upstream.of(rule):
                arriving |= {
                    written.tag: origin
                    for written, origin in (await self.expected(other)).items()
                    if written.tag and written.name == rule.source.repository.name
                }
        try:
            images = (await self._select(rule, arriving)).images
        except Exception:
            # Whatever it is, it is reported as the failure of this rule when it is planned.
            return {}
        return {
            reference_at(destination, image, number): image
            for number, image in enumerate(images)
            for destination in rule.destinations
        }

    async def _select(self, rule: Rule, arriving: Mapping[str, Reference]) -> Selected:
        """Return what a rule selects where its repository has the tags ``arriving`` besides what it holds.

        These have the images of which each is to be a copy.
        """
        source = rule.source
        if source.items:
            return Selected(list(source.items), [])
        try:
            async with self._slots:
                listed = await self._registries.tags(source.repository)
        except NotFound:
            if not arriving:
                raise
            listed = []
        tags, odd = _split_valid(dict.fromkeys([*listed, *arriving]) if arriving else listed, rule)
        selection = None
        if source.policy is not None:
            selection = await self._choose(source.policy, tags, source.repository, arriving)
            tags = selection.selected
        images = [source.repository.at(tag) for tag in tags]
        named = next((each for each in rule.destinations if each.targets), None)
        if named is not None and len(images) > 1:
            raise TooManyMatches(rule.name, [str(image.tag) for image in images], named)
        return Selected(images, odd, selection)

    async def _choose(
        self, policy: TagPolicy, tags: list[str], repository: Reference, arriving: Mapping[str, Reference]
    ) -> TagSelection:
        """Return the selection of a policy; dates are asked for where they decide. Raises ``TooFewTags``."""
        selection = policy.begin(tags)
        dates: dict[str, datetime] = {}
        if selection.needs_dates:
            images = {tag: arriving.get(tag) or repository.at(tag) for tag in selection.selected}
            dates = await self._dates.of(repository, images)
        try:
            selection.finish(dates, self._now)
        except TooFewTags as error:
            raise TooFewTags(f"{repository}: {error}") from None
        return selection


def reference_at(destination: Destination, source: Reference, number: int) -> Reference:
    """Return an image's name at a destination: the ``number``-th that is written there, else the source's own."""
    if destination.targets:
        return destination.repository.at(destination.targets[number])
    return destination.repository.at(source.tag or source.target)


def _split_valid(listed: Iterable[str], rule: Rule) -> tuple[list[str], list[str]]:
    """Return the tags of a list that the rule is for, and what is wrong with each entry that is no tag."""
    source = rule.source
    select = source.pattern.select if source.pattern else list
    may_take = source.policy.may_take if source.policy else None
    valid: list[str] = []
    odd: list[str] = []
    for entry in listed:
        try:
            valid.append(check_tag(entry))
        except InvalidReference as error:
            # Escaped, as an expression cannot be searched for in what is no text.
            escaped = escape_control(entry)
            if select([escaped]) and (may_take is None or may_take(escaped)):
                odd.append(str(error))
    return select(valid), odd
