"""Blobs of one repository: looked up and read (distribution specification, "Pulling blobs")."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import httpx

from imageferry.registry.client import check_status
from imageferry.registry.errors import TRANSIENT_STATUSES, NotFound
from imageferry.registry.repository_client import RepositoryClient
from imageferry.registry.request import RegistryRequest
from imageferry.text import short_digest

# How registries and stores refuse a range as such.
_NO_RANGES = frozenset({400, 405, 416, 501})


class Blobs:
    """The blobs of one repository."""

    def __init__(self, repository: RepositoryClient) -> None:
        self._repository = repository

    async def size(self, digest: str) -> int | None:
        """Return the blob's size in bytes, asked for with HEAD (-1 if the registry does not say); None if absent.

        Any status other than 200 means absent: the upload that follows reports what is wrong. Raises ``Unreachable``
        and what the login raises.
        """
        repository = self._repository
        action = f"look up blob {short_digest(digest)} in {repository.name}"
        answer = await repository.send(RegistryRequest("HEAD", repository.path(f"blobs/{digest}"), action))
        if answer.status_code != 200:
            return None
        length = answer.headers.get("content-length", "")
        return int(length) if length.isdecimal() and length.isascii() else -1

    async def measure(self, digest: str) -> int | None:
        """Return the size in bytes of a blob that is to be read, -1 if the registry does not say; None if absent.

        Asked for with HEAD, and with GET where that does not tell: some registries refuse HEAD of blobs. Raises
        ``RegistryError``.
        """
        size = await self.size(digest)
        if size is not None and size >= 0:
            return size
        try:
            async with self.open(digest) as answer:
                length = answer.headers.get("content-length", "")
        except NotFound:
            return None
        return int(length) if length.isdecimal() and length.isascii() else -1

    async def exists(self, digest: str) -> bool:
        """Whether the repository has the blob: see ``size``."""
        return await self.size(digest) is not None

    @contextlib.asynccontextmanager
    async def open(self, digest: str, offset: int = 0) -> AsyncIterator[httpx.Response]:
        """Open the blob for reading from ``offset`` (bytes).

        The answer is 206 if the registry honours the range, and 200 if it starts at the beginning: so does one that
        refuses a range, which is not asked for any more. Raises ``NotFound`` and other ``RegistryError``.
        """
        dialect = self._repository.client.blob_dialect
        status = 0
        if offset and dialect.ranges:
            async with self._repository.stream(self._reading_from(digest, offset)) as answer:
                status = answer.status_code
                if answer.is_success or status in TRANSIENT_STATUSES:
                    yield self._checked(digest, answer)
                    return
        async with self._repository.stream(self._reading_from(digest, 0)) as answer:
            self._checked(digest, answer)
            # If it refuses this too, it was not the range; and what else it may have been is no way of the registry.
            dialect.ranges = dialect.ranges and status not in _NO_RANGES
            yield answer

    def _reading_from(self, digest: str, offset: int) -> RegistryRequest:
        headers = {"range": f"bytes={offset}-"} if offset else {}
        return RegistryRequest("GET", self._repository.path(f"blobs/{digest}"), self._reading(digest), headers)

    def _checked(self, digest: str, answer: httpx.Response) -> httpx.Response:
        if answer.status_code not in (200, 206):
            check_status(answer, self._reading(digest), self._repository.host, 200, 206)
        return answer

    async def read(self, digest: str, limit: int) -> bytes:
        """Return the bytes of a small blob, at most ``limit`` of them, unverified. Raises ``RegistryError``."""
        repository, action = self._repository, self._reading(digest)
        request = RegistryRequest("GET", repository.path(f"blobs/{digest}"), action, limit=limit)
        return check_status(await repository.send(request), action, repository.host, 200).content

    def _reading(self, digest: str) -> str:
        return f"read blob {short_digest(digest)} of {self._repository.name}"
