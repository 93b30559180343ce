"""The registries of a run: which repository is read or written with which credentials, and what was asked of them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from imageferry.credentials.source import CredentialSource
from imageferry.model import Configuration, RegistryAccess
from imageferry.reference import Reference
from imageferry.registry import Descriptor, RegistryClient, Repository
from imageferry.registry.ecr import create_repository, is_ecr
from imageferry.registry.limits.registry_limits import RunLimits
from imageferry.report.waits import Waits


class Registries:
    """Opens each repository once a run. Its connections belong to the event loop in which they are first used."""

    def __init__(
        self, configuration: Configuration, credentials: CredentialSource, limits: RunLimits, waits: Waits
    ) -> None:
        self._configuration = configuration
        self._credentials = credentials
        self._limits = limits
        self._waits = waits
        self._connections = contextlib.AsyncExitStack()
        self._clients: dict[tuple[str, RegistryAccess | None], RegistryClient] = {}
        self._repositories: dict[tuple[str, bool], Repository] = {}
        self._rules_by_source = Counter(rule.source.repository.name for rule in configuration.rules)
        self._heads: dict[Reference, asyncio.Task[Descriptor | None]] = {}
        self._tags: dict[str, asyncio.Task[list[str]]] = {}

    async def aclose(self) -> None:
        """Close all connections."""
        await self._connections.aclose()

    async def source(self, reference: Reference) -> Repository:
        """Return the repository of a reference to read from. Raises ``ImageferryError``."""
        return await self._repository(reference, writable=False)

    async def destination(self, reference: Reference) -> Repository:
        """Return the repository of a reference to write to. Raises ``ImageferryError``."""
        return await self._repository(reference, writable=True)

    async def head(self, reference: Reference) -> Descriptor | None:
        """Return the descriptor of a source image, None where the registry has none. Raises ``ImageferryError``.

        It is asked for once a run, however many rules name the image. Only what several rules may ask for is kept:
        ten thousand answers would be many.
        """

        async def ask() -> Descriptor | None:
            repository = await self.source(reference)
            return await repository.manifests.head(reference.target)

        if self._rules_by_source[reference.name] < 2:
            return await ask()
        if reference not in self._heads:
            self._heads[reference] = asyncio.create_task(ask())
        return await asyncio.shield(self._heads[reference])

    async def tags(self, reference: Reference) -> list[str]:
        """Return a source repository's tags. They are listed once a run. Raises ``ImageferryError``."""

        async def ask() -> list[str]:
            repository = await self.source(reference)
            return await repository.tags.all()

        if reference.name not in self._tags:
            self._tags[reference.name] = asyncio.create_task(ask())
        return await asyncio.shield(self._tags[reference.name])

    def forget(self, names: Iterable[str]) -> None:
        """Forget what was asked of these repositories as sources: a rule of this run has written to them."""
        forgotten = set(names)
        for name in forgotten:
            self._tags.pop(name, None)
        for reference in [each for each in self._heads if each.name in forgotten]:
            del self._heads[reference]

    def takes_foreign_layers(self, repository: Repository) -> bool:
        """Return whether the repository's registry gets the layers that need not be distributed as well."""
        return bool(self._configuration.settings_of(repository.registry).foreign_layers)

    async def _repository(self, reference: Reference, *, writable: bool) -> Repository:
        key = (reference.name, writable)
        if key not in self._repositories:
            access = await self._credentials.access_to(reference.registry, reference.repository)
            # Another task may have opened it while the credentials were read.
            if key not in self._repositories:
                client = await self._client(reference.registry, access)
                self._repositories[key] = Repository(
                    client,
                    reference.repository,
                    writable=writable,
                    create_on_demand=self._creator(reference) if writable else None,
                )
        return self._repositories[key]

    def _creator(self, destination: Reference) -> Callable[[], Awaitable[None]] | None:
        """Return what creates a repository at a registry that wants it before a push; None where it is not wanted."""
        settings = self._configuration.settings_of(destination.registry)
        if not settings.create_repositories or not is_ecr(destination.registry):
            return None
        return functools.partial(create_repository, destination.registry, destination.repository)

    async def _client(self, registry: str, access: RegistryAccess | None) -> RegistryClient:
        key = (registry, access)
        if key not in self._clients:
            client = RegistryClient(
                registry, access, self._limits.of(registry), self._waits, self._configuration.insecure_hosts
            )
            self._clients[key] = client
            await self._connections.enter_async_context(client)
        return self._clients[key]
