"""One repository of one registry, with what is in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import httpx

from imageferry.errors import ImageferryError
from imageferry.registry.blobs import Blobs
from imageferry.registry.client import RegistryClient
from imageferry.registry.errors import ERROR_BODY_LIMIT
from imageferry.registry.manifests import Manifests
from imageferry.registry.tags import Tags
from imageferry.registry.uploads import Uploads


class Repository:
    """A repository to read from, or with ``writable`` to write to: ``manifests``, ``tags``, ``blobs``, ``uploads``.

    ``create_on_demand`` makes the repository, for a registry where it must be there before a push.
    """

    def __init__(
        self,
        endpoint: RegistryClient,
        path: str,
        *,
        writable: bool = False,
        create_on_demand: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.registry = endpoint.registry
        self.host = endpoint.host
        self.repository = path
        self.name = f"{endpoint.registry}/{path}"
        self.scopes = (f"repository:{path}:{'pull,push' if writable else 'pull'}",)
        self.manifests = Manifests(self)
        self.tags = Tags(self)
        self.blobs = Blobs(self)
        self.uploads = Uploads(self)
        self._create_on_demand = create_on_demand
        self._creating: asyncio.Future[None] | None = None

    def path(self, rest: str) -> str:
        """Give the absolute path of something in this repository."""
        return f"/v2/{self.repository}/{rest}"

    async def create(self) -> bool:
        """Make the repository where that is asked for, once for all who ask; give whether it was.

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

    async def send(
        self,
        method: str,
        rest: str | httpx.URL,
        *,
        action: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        limit: int = ERROR_BODY_LIMIT,
    ) -> httpx.Response:
        """Send a request about something in this repository: see ``Endpoint.send``."""
        path = self.path(rest) if isinstance(rest, str) else rest
        return await self.endpoint.send(
            method, path, action=action, scopes=self.scopes, headers=headers, content=content, limit=limit
        )

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, rest: str, *, action: str, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and leave the answer's body to be read: see ``Endpoint.stream``."""
        async with self.endpoint.stream(
            method, self.path(rest), action=action, scopes=self.scopes, headers=headers
        ) as answer:
            yield answer

    def __str__(self) -> str:
        return self.name
