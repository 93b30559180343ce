"""The floor on which manifests, tags, blobs and uploads stand: requests about one repository."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import httpx

from imageferry.errors import ImageferryError
from imageferry.registry.client import RegistryClient
from imageferry.registry.request import RegistryRequest


class RepositoryClient:
    """One repository of a registry, to read from, or with ``writable`` to write to.

    ``create_on_demand`` creates the repository, for a registry where it must exist before a push.
    """

    def __init__(
        self,
        client: RegistryClient,
        path: str,
        *,
        writable: bool = False,
        create_on_demand: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.client = client
        self.registry = client.registry
        self.host = client.host
        self.repository = path
        self.name = f"{client.registry}/{path}"
        self.scopes = (f"repository:{path}:{'pull,push' if writable else 'pull'}",)
        self._create_on_demand = create_on_demand
        self._creating: asyncio.Future[None] | None = None

    def path(self, rest: str) -> str:
        """Return the absolute path of something in this repository."""
        return f"/v2/{self.repository}/{rest}"

    async def send(self, request: RegistryRequest) -> httpx.Response:
        """Send a request with this repository's scopes: see ``RegistryClient.send``."""
        return await self.client.send(request, self.scopes)

    def stream(self, request: RegistryRequest) -> AbstractAsyncContextManager[httpx.Response]:
        """Send a request with this repository's scopes: see ``RegistryClient.stream``."""
        return self.client.stream(request, self.scopes)

    async def create(self) -> bool:
        """Create the repository if it is to be created on demand, once however many ask; return whether it was.

        Raises ``RegistryError``.
        """
        if self._create_on_demand is None:
            return False
        if self._creating is None:
            self._creating = asyncio.ensure_future(self._create_on_demand())
        try:
            await asyncio.shield(self._creating)
        except ImageferryError as error:
            if error.transient:
                self._creating = None
            raise
        return True

    def __str__(self) -> str:
        return self.name
