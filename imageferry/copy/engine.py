"""One run of the engine: the registries it talks to, what it knows of them, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping

from imageferry.concurrency import for_each
from imageferry.copy.blobs import BlobDistributor
from imageferry.copy.errors import DeliveryError, Interrupted
from imageferry.copy.image import copy_image
from imageferry.copy.job import CopyJob
from imageferry.copy.known_contents import KnownContents
from imageferry.copy.options import Options
from imageferry.copy.plan import fail_rule, plan_rule
from imageferry.copy.transfer import BlobTransfer
from imageferry.credentials.keychain import default_keychain
from imageferry.errors import ImageferryError
from imageferry.model import Configuration, RegistryAccess, Rule
from imageferry.reference import Reference
from imageferry.registry import Descriptor, RegistryClient, Repository
from imageferry.registry.ecr import create_repository, is_ecr
from imageferry.registry.limits.registry_limits import RunLimits
from imageferry.report.outcomes import ImageOutcome, Outcome, Outcomes
from imageferry.selection import PlatformFilter

#: Rules that are planned at the same time; the registries' own limits lie below.
RULES_PLANNED_AT_ONCE = 16


class Engine:
    """Plans rules and copies images. Open it with ``async with``; it belongs to the event loop it is opened in."""

    def __init__(
        self, configuration: Configuration, options: Options, environment: Mapping[str, str] = os.environ
    ) -> None:
        self.configuration = configuration
        self.options = options
        self.outcomes = Outcomes()
        self.holdings = KnownContents()
        self.deliveries = BlobDistributor(self.holdings, self.outcomes, self.transfer, options.proc)
        self.throttles = RunLimits(configuration.settings_of, configuration.registries.values(), options.bandwidth)
        self._keychain = default_keychain(configuration, environment)
        self._resources = contextlib.AsyncExitStack()
        self._endpoints: dict[tuple[str, RegistryAccess | None], RegistryClient] = {}
        self._repositories: dict[tuple[str, bool], Repository] = {}
        self._rules_of = Counter(rule.source.repository.name for rule in configuration.rules)
        self._described: dict[Reference, asyncio.Task[Descriptor | None]] = {}
        self._planned: dict[str, asyncio.Task[list[CopyJob]]] = {}
        self._unplanned: set[str] = set()
        self._tags: dict[str, asyncio.Task[list[str]]] = {}
        self._manifest_locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.deliveries.drop_sessions()
        await self._resources.aclose()

    async def plan(self, rule: Rule) -> list[CopyJob]:
        """Find what a rule has to do: see ``plan_rule``. Each is planned once a run, by whoever asks first."""
        if rule.name not in self._planned:
            self._planned[rule.name] = asyncio.create_task(plan_rule(self, rule))
        return await asyncio.shield(self._planned[rule.name])

    async def plan_all(self, rules: Iterable[Rule]) -> None:
        """Plan several rules side by side."""

        async def plan(rule: Rule) -> None:
            await self.plan(rule)

        await for_each(rules, RULES_PLANNED_AT_ONCE, plan)

    async def copy(self, work: CopyJob) -> None:
        """Copy one image: see ``copy_image``."""
        await copy_image(self, work)

    async def transfer(self, blob: Descriptor, source: Repository, destinations: list[Repository]) -> None:
        """Move one blob's bytes to the destinations that lack it. Raises ``DeliveryError``.

        A source is read once: what a later rule needs elsewhere comes from where the blob has been brought to.
        """
        lacking = [place for place in destinations if not self.holdings.has_blob(place, blob.digest)]
        try:
            places = [*self.holdings.arrived(blob.digest), source]
            async with self.throttles.blob(place.registry for place in (places[0], *lacking)):
                await BlobTransfer(blob, places, self.outcomes, self.deliveries.sessions).to(lacking)
        except DeliveryError as error:
            self._arrived(blob, [place for place in lacking if place.name not in error.failures])
            raise
        self._arrived(blob, lacking)

    def _arrived(self, blob: Descriptor, places: list[Repository]) -> None:
        for place in places:
            self.holdings.add_blob(place, blob.digest, moved=True)

    def settle(self, work: CopyJob, place: Reference, outcome: ImageOutcome) -> None:
        """Note what became of an image at one destination."""
        work.finished.add(place)
        self.outcomes.add(outcome)

    def give_up(self, work: CopyJob, error: BaseException) -> None:
        """Note as failed every destination of the work that is not settled."""
        failures = error.failures if isinstance(error, DeliveryError) else {}
        for place in work.destinations:
            if place not in work.finished:
                work.finished.add(place)
                self.note_failure(work.name, str(place), work.platforms, failures.get(str(place), error))

    def give_up_rest(self, rules: Iterable[Rule]) -> None:
        """Note as failed what an interrupted run did not reach: images that were planned, and rules without a plan."""
        for rule in rules:
            planning = self._planned.get(rule.name)
            if planning is not None and planning.done() and not planning.cancelled():
                for work in planning.result():
                    self.give_up(work, Interrupted("interrupted before it was copied"))
            elif rule.name not in self._unplanned:
                if planning is not None:
                    planning.cancel()
                self._unplanned.add(rule.name)
                fail_rule(self, rule, Interrupted("interrupted before its images were compared"))

    def note_failure(self, source: str, destination: str, platforms: PlatformFilter, error: BaseException) -> None:
        """Note an image that failed, with the words that say why."""
        self.outcomes.retry_platforms[source, destination] = [str(platform) for platform in platforms.platforms]
        words = str(error) if isinstance(error, ImageferryError) else f"unexpected {type(error).__name__}: {error}"
        self.outcomes.add(
            ImageOutcome(
                source=source,
                destination=destination,
                outcome=Outcome.FAILED,
                error=words,
            )
        )

    async def source(self, reference: Reference) -> Repository:
        """Give the repository of a reference to read from. Raises ``ImageferryError``."""
        return await self._repository(reference, writable=False)

    async def destination(self, reference: Reference) -> Repository:
        """Give the repository of a reference to write to. Raises ``ImageferryError``."""
        return await self._repository(reference, writable=True)

    async def describe(self, reference: Reference) -> Descriptor | None:
        """Ask what a source image is, once a run however many rules name it.

        Only what several rules may ask for is kept: ten thousand answers would be many.
        """

        async def ask() -> Descriptor | None:
            repository = await self.source(reference)
            return await repository.manifests.head(reference.target)

        if self._rules_of[reference.name] < 2:
            return await ask()
        if reference not in self._described:
            self._described[reference] = asyncio.create_task(ask())
        return await asyncio.shield(self._described[reference])

    async def tags(self, reference: Reference) -> list[str]:
        """List a source repository's tags, once a run however many rules name it."""

        async def ask() -> list[str]:
            repository = await self.source(reference)
            return await repository.tags.all()

        if reference.name not in self._tags:
            self._tags[reference.name] = asyncio.create_task(ask())
        return await asyncio.shield(self._tags[reference.name])

    def manifest_lock(self, digest: str) -> asyncio.Lock:
        """Give the lock under which one manifest is placed, so that tags that share it do not place it twice."""
        return self._manifest_locks[digest]

    async def _repository(self, reference: Reference, *, writable: bool) -> Repository:
        key = (reference.name, writable)
        if key not in self._repositories:
            access = await self._keychain.access_to(reference.registry, reference.repository)
            if key not in self._repositories:
                endpoint = await self._endpoint(reference.registry, access)
                self._repositories[key] = Repository(
                    endpoint,
                    reference.repository,
                    writable=writable,
                    create_on_demand=self._creation(reference) if writable else None,
                )
        return self._repositories[key]

    def _creation(self, place: Reference) -> Callable[[], Awaitable[None]] | None:
        """Give what makes a repository at a registry that must have it before a push; None where it is not to be."""
        if not self.configuration.settings_of(place.registry).create_repositories or not is_ecr(place.registry):
            return None
        return functools.partial(create_repository, place.registry, place.repository)

    async def _endpoint(self, registry: str, access: RegistryAccess | None) -> RegistryClient:
        key = (registry, access)
        if key not in self._endpoints:
            endpoint = RegistryClient(registry, access, self.throttles.of(registry), self.outcomes.waits)
            self._endpoints[key] = endpoint
            await self._resources.enter_async_context(endpoint)
        return self._endpoints[key]
