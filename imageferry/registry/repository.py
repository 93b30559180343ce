"""One repository of one registry, with what is in it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

import httpx

from imageferry.registry.blobs import Blobs
from imageferry.registry.endpoint import Endpoint
from imageferry.registry.errors import ERROR_BODY_LIMIT
from imageferry.registry.manifests import Manifests
from imageferry.registry.tags import Tags
from imageferry.registry.uploads import Uploads


class Repository:
    """A repository to read from, or with ``writable`` to write to: ``manifests``, ``tags``, ``blobs``, ``uploads``."""

    def __init__(self, endpoint: Endpoint, path: str, *, writable: bool = False) -> None:
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

    def path(self, rest: str) -> str:
        """Give the absolute path of something in this repository."""
        return f"/v2/{self.repository}/{rest}"

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
