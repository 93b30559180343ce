"""Blobs of one repository: looked up and read (distribution specification, "Pulling blobs")."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import httpx

from imageferry.registry.client import check_status
from imageferry.text import short_digest

if TYPE_CHECKING:
    from imageferry.registry.repository import Repository


class Blobs:
    """The blobs of one repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def size(self, digest: str) -> int | None:
        """Ask with HEAD for the blob's size in bytes (-1 where the registry does not say); None where it has none.

        An answer other than 200 means no: what is then tried, an upload, tells what is wrong. Raises ``Unreachable``
        and what the login raises.
        """
        action = f"look up blob {short_digest(digest)} in {self._repository.name}"
        answer = await self._repository.send("HEAD", f"blobs/{digest}", action=action)
        if answer.status_code != 200:
            return None
        length = answer.headers.get("content-length", "")
        return int(length) if length.isdecimal() and length.isascii() else -1

    async def exists(self, digest: str) -> bool:
        """Whether the repository has the blob: see ``size``."""
        return await self.size(digest) is not None

    @contextlib.asynccontextmanager
    async def open(self, digest: str, offset: int = 0) -> AsyncIterator[httpx.Response]:
        """Open the blob for reading from ``offset`` (bytes) on.

        The answer is 206 where the registry went to the offset and 200 where it starts at the beginning. Raises
        ``NotFound`` and other ``RegistryError``.
        """
        repository = self._repository
        action = f"read blob {short_digest(digest)} of {repository.name}"
        headers = {"range": f"bytes={offset}-"} if offset else {}
        async with repository.stream("GET", f"blobs/{digest}", action=action, headers=headers) as answer:
            if answer.status_code not in (200, 206):
                check_status(answer, action, repository.host, 200, 206)
            yield answer

    async def read(self, digest: str, limit: int) -> bytes:
        """Read a small blob whole, at most ``limit`` bytes, unverified. Raises ``RegistryError``."""
        repository = self._repository
        action = f"read blob {short_digest(digest)} of {repository.name}"
        answer = await repository.send("GET", f"blobs/{digest}", action=action, limit=limit)
        return check_status(answer, action, repository.host, 200).content
