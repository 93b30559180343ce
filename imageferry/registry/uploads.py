"""Uploads to one repository: sessions, and mounts that spare them (distribution specification, "Pushing blobs")."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import httpx

from imageferry.errors import ImageferryError
from imageferry.registry.endpoint import check
from imageferry.registry.errors import BadAnswer, Refused, Unavailable
from imageferry.words import short

if TYPE_CHECKING:
    from imageferry.registry.repository import Repository

logger = logging.getLogger(__name__)

#: Seconds that a registry has to drop a session: a run that is stopped must not wait for one that hangs.
CANCEL_LIMIT = 3.0

#: How registries refuse a PUT that brings bytes: JFrog wants them in a PATCH before it.
_NO_BYTES_WITH_PUT = frozenset({400, 405, 411, 415, 416})


class Uploads:
    """Where blobs enter a repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def start(self, digest: str) -> Upload:
        """Open an upload session for the blob. Raises ``RegistryError``."""
        starting = asyncio.create_task(self._start(digest))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # Its answer may be on the way: only then is there a session to name.
            await asyncio.wait({starting}, timeout=CANCEL_LIMIT)
            if starting.done() and not starting.cancelled() and starting.exception() is None:
                await starting.result().cancel()
            raise

    async def _start(self, digest: str) -> Upload:
        repository = self._repository
        action = f"start the upload of blob {short(digest)} to {repository.name}"
        answer = await repository.send("POST", "blobs/uploads/", action=action, content=b"")
        check(answer, action, repository.host, 202)
        return Upload(repository, digest, _location(answer, action))

    async def mount(self, digest: str, source: str) -> Upload | None:
        """Have the registry take the blob from its repository ``source``; None when it did.

        A registry that will not (202, or 401, 403, 404, 405: the specification lets it) leaves an upload session: the
        one it opened instead, or a new one. Raises ``RegistryError``.
        """
        repository = self._repository
        action = f"mount blob {short(digest)} from {source} to {repository.name}"
        url = httpx.URL(repository.path("blobs/uploads/"), params={"mount": digest, "from": source})
        # A token for both repositories: without the second scope registries answer 202.
        scopes = (*repository.scopes, f"repository:{source}:pull")
        try:
            answer = await repository.endpoint.send("POST", url, action=action, scopes=scopes, content=b"")
        except ImageferryError as error:
            logger.debug("%s", error)
            return await self.start(digest)
        if answer.status_code == 201:
            return None
        if answer.status_code == 202:
            return Upload(repository, digest, _location(answer, action))
        return await self.start(digest)


class Upload:
    """One upload session. Its location changes with every answer."""

    def __init__(self, repository: Repository, digest: str, location: httpx.URL) -> None:
        self._repository = repository
        self._digest = digest
        self._location = location
        self.action = f"upload blob {short(digest)} to {repository.name}"

    async def put(self, content: bytes) -> None:
        """Send the whole of a small blob and commit it: in one request, where the registry takes bytes with it.

        Raises ``RegistryError``.
        """
        try:
            await self._commit(content)
        except Refused as error:
            if not content or error.status not in _NO_BYTES_WITH_PUT or "DIGEST_INVALID" in error.codes:
                raise
            await self.cancel()
            again = await self._repository.uploads.start(self._digest)
            await again.patch(content, len(content))
            await again.commit()
        except asyncio.CancelledError:
            await self.cancel()
            raise

    async def patch(self, content: bytes | httpx.AsyncByteStream, size: int) -> None:
        """Send the blob's ``size`` bytes as one stream; nothing is committed by it. Raises ``RegistryError``."""
        headers = {"content-type": "application/octet-stream", "content-length": str(size)}
        answer = await self._send("PATCH", self._location, headers, content)
        if answer.status_code == 401:
            # The session was opened, so the token ended since; a stream cannot be sent a second time.
            raise Unavailable(self.action, "its token ended before the bytes were taken", status=401)
        # docker/distribution answers 202, JFrog and GitLab's old ones 201 or 204.
        check(answer, self.action, self._repository.host, 202, 201, 204)
        if "location" in answer.headers:
            self._location = _location(answer, self.action)

    async def commit(self) -> None:
        """End the session: what was sent is the blob. Raises ``RegistryError``."""
        await self._commit(b"")

    async def cancel(self) -> None:
        """Drop the session. A registry that refuses is left to time it out."""
        try:
            async with asyncio.timeout(CANCEL_LIMIT):
                await self._send("DELETE", self._location, {}, None)
        except (ImageferryError, TimeoutError) as error:
            logger.debug("upload session left behind: %s", error)

    async def _commit(self, content: bytes) -> None:
        url = self._location.copy_merge_params({"digest": self._digest})
        headers = {"content-type": "application/octet-stream", "content-length": str(len(content))}
        answer = await self._send("PUT", url, headers, content)
        if answer.status_code == 404 and await self._repository.blobs.exists(self._digest):
            # A try before this one ended the session, and its answer was lost.
            return
        check(answer, self.action, self._repository.host, 201, 204)

    async def _send(
        self,
        method: str,
        url: httpx.URL,
        headers: dict[str, str],
        content: bytes | httpx.AsyncByteStream | None,
    ) -> httpx.Response:
        repository = self._repository
        return await repository.endpoint.send(
            method, url, action=self.action, scopes=repository.scopes, headers=headers, content=content
        )


def _location(answer: httpx.Response, action: str) -> httpx.URL:
    """Give the session's address: relative to the request, at another host, with a query that must be kept."""
    location = answer.headers.get("location", "")
    try:
        if not location:
            raise httpx.InvalidURL("none")
        return answer.request.url.join(location)
    except httpx.InvalidURL:
        raise BadAnswer(action, f"the registry opened a session without an address ({location!r})") from None
