"""One upload session and the requests about it (distribution specification, "Pushing blobs")."""

from __future__ import annotations

import asyncio
import logging
import re
from urllib.parse import urlencode

import httpx

from imageferry.errors import ImageferryError
from imageferry.registry.client import check_status
from imageferry.registry.errors import TRANSIENT_STATUSES, InvalidResponse, Unreachable
from imageferry.registry.http.location import append_query, read_location, resolve
from imageferry.registry.redaction import redact
from imageferry.registry.repository_client import RepositoryClient
from imageferry.registry.request import RegistryRequest
from imageferry.text import short_digest, shorten_repr

logger = logging.getLogger(__name__)

# Seconds that a registry has to drop a session: a run that is stopped must not wait for one that hangs.
CANCEL_LIMIT = 3.0

# Tries of a mount: an upload takes its place.
MOUNT_TRIES = 2

# Answers to a mount that are its own: done, a session instead, or a refusal that may be of this blob or repository.
_MOUNT_ANSWERS = frozenset({201, 202, 401, 403, 404, 429})

# The bytes that a session has, the last one's number included; older registries write the unit before.
_RANGE = re.compile(r"^(?:bytes[= ])?0-([0-9]{1,18})$")


class UploadSession:
    """A session at ``location``, which changes with every answer.

    ``gone``: the registry has said that it does not exist, so there is nothing to cancel.
    """

    def __init__(self, repository: RepositoryClient, digest: str, location: httpx.URL) -> None:
        self.action = f"upload blob {short_digest(digest)} to {repository.name}"
        self.location = location
        self.gone = False
        self._repository = repository
        self._digest = digest

    async def patch(
        self, content: bytes | httpx.AsyncByteStream, length: int, offset: int | None = None
    ) -> httpx.Response:
        """Send ``length`` bytes, from ``offset`` of the blob; None: they are all of it."""
        headers = _content_headers(length)
        if offset is not None:
            headers["content-range"] = f"{offset}-{offset + length - 1}"
        elif self.may_end_early and not isinstance(content, bytes):
            del headers["content-length"]
        return await self._send("PATCH", self.location, headers, content)

    @property
    def may_end_early(self) -> bool:
        """Whether all of a blob is streamed without its length, as docker does, so that it may end before the last.

        docker/distribution, which is known by the ``_state`` in its locations, does not drop a session that broke off.
        """
        return "_state" in self.location.params

    async def put(self, content: bytes | httpx.AsyncByteStream, length: int) -> httpx.Response:
        """Send ``length`` bytes, or none, and end the session: what was sent is the blob."""
        url = append_query(self.location, urlencode({"digest": self._digest}))
        return await self._send("PUT", url, _content_headers(length), content)

    async def status(self, *, keep_location: bool = False) -> int | None:
        """Return how many bytes the session has; None if it has none or does not say.

        (Specification, "Pushing a blob in chunks".) ``keep_location``: its location is not the answer's.
        """
        answer = await self._send("GET", self.location, {}, None)
        self.gone = answer.status_code == 404
        if not answer.is_success:
            return None
        if not keep_location:
            self.follow(answer)
        match = _RANGE.match(answer.headers.get("range", ""))
        if match is None:
            return None
        last = int(match[1])
        # 0-0 is also how registries write that there is none.
        return last + 1 if last else 0

    async def cancel(self) -> None:
        """Drop the session. If a registry refuses, it is left to time out there."""
        request = RegistryRequest("DELETE", self.location, self.action, {}, no_retry=True, may_move=True)
        try:
            async with asyncio.timeout(CANCEL_LIMIT):
                await self._repository.send(request)
        except (ImageferryError, TimeoutError) as error:
            logger.debug("upload session left behind: %s", error)

    def follow(self, answer: httpx.Response) -> None:
        """Take the location of an answer, if it has one. Raises ``InvalidResponse`` if that is invalid."""
        if "location" in answer.headers:
            self.location = session_location(answer, self.action)

    async def _send(
        self, method: str, url: httpx.URL, headers: dict[str, str], content: bytes | httpx.AsyncByteStream | None
    ) -> httpx.Response:
        return await self._repository.send(RegistryRequest(method, url, self.action, headers, content, may_move=True))


async def start_session(repository: RepositoryClient, digest: str) -> UploadSession:
    """Open a session for the blob, in a repository that is created first if need be. Raises ``RegistryError``."""
    starting = asyncio.create_task(_start(repository, digest))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # Its answer may be on the way: only then is there a session to cancel.
        await asyncio.wait({starting}, timeout=CANCEL_LIMIT)
        if starting.done() and not starting.cancelled() and starting.exception() is None:
            await starting.result().cancel()
        raise


async def _start(repository: RepositoryClient, digest: str) -> UploadSession:
    action = f"start the upload of blob {short_digest(digest)} to {repository.name}"
    request = RegistryRequest("POST", repository.path("blobs/uploads/"), action, content=b"", may_move=True)
    answer = await repository.send(request)
    if answer.status_code == 404 and await repository.create():
        answer = await repository.send(request)
    check_status(answer, action, repository.host, 202)
    return _opened(repository, digest, answer, action)


async def mount_blob(repository: RepositoryClient, digest: str, source: str) -> UploadSession | None:
    """Have the registry take the blob from its repository ``source``; None if it did.

    A registry that will not (202, or 401, 403, 404, 405: the specification lets it), or that fails in whatever way,
    leaves a session: the one it opened instead, or a new one. Raises ``RegistryError`` if there is none.
    """
    dialect = repository.client.upload_dialect
    if dialect.mounts:
        action = f"mount blob {short_digest(digest)} from {source} to {repository.name}"
        url = httpx.URL(repository.path("blobs/uploads/"), params={"mount": digest, "from": source})
        request = RegistryRequest("POST", url, action, content=b"", no_retry=True, optional=True, may_move=True)
        answer = await _ask_for_mount(repository, request, source)
        if answer is not None and answer.status_code == 201:
            return None
        if answer is not None and answer.status_code == 202:
            try:
                return _opened(repository, digest, answer, action)
            except ImageferryError as error:
                logger.debug("%s", error)
                dialect.failed_mounts += 1
    return await start_session(repository, digest)


async def _ask_for_mount(repository: RepositoryClient, request: RegistryRequest, source: str) -> httpx.Response | None:
    """Return the answer to a mount, None if there is none. What else is wrong, the upload that follows reports."""
    # A token for both repositories: without the second scope registries answer 202.
    scopes = (*repository.scopes, f"repository:{source}:pull")
    dialect = repository.client.upload_dialect
    answer = None
    for _ in range(MOUNT_TRIES):
        try:
            answer = await repository.client.send(request, scopes)
        except Unreachable as error:
            # Perhaps but an idle connection that the registry has closed.
            logger.debug("%s", error)
        except InvalidResponse as error:
            # What it leads to will be no better for the next one.
            logger.debug("%s", error)
            break
        except ImageferryError as error:
            # No token for both, as it may be of these two.
            logger.debug("%s", error)
            return None
        else:
            # A limit is waited for by the next request, whichever that is.
            if answer.status_code not in TRANSIENT_STATUSES:
                break
    if answer is None or answer.status_code not in _MOUNT_ANSWERS:
        dialect.failed_mounts += 1
    elif answer.status_code != 202:
        dialect.failed_mounts = 0
    return answer


def _opened(repository: RepositoryClient, digest: str, answer: httpx.Response, action: str) -> UploadSession:
    repository.client.upload_dialect.read_chunk_bounds(answer.headers)
    return UploadSession(repository, digest, session_location(answer, action))


def session_location(answer: httpx.Response, action: str) -> httpx.URL:
    """Return the session's address: relative to the request, at another host, with a query that must be kept.

    Raises ``InvalidResponse`` if there is none.
    """
    location, asked = read_location(answer.headers), answer.request.url
    try:
        if not location:
            raise httpx.InvalidURL("none")
        url = resolve(asked, location)
    except httpx.InvalidURL:
        reason = f"the registry opened a session without an address ({shorten_repr(redact(location))})"
        raise InvalidResponse(action, reason) from None
    if url.raw_host != asked.raw_host:
        return url
    if (url.scheme, asked.scheme) == ("http", "https") and url.port in (None, 443, asked.port):
        # A registry behind a proxy that speaks TLS for it does not know that it is asked by https.
        return url.copy_with(scheme="https", port=asked.port)
    if url.scheme == asked.scheme and url.port is None:
        # Nor the port at which that proxy is asked, if it passes on the host without it.
        return url.copy_with(port=asked.port)
    return url


def _content_headers(length: int) -> dict[str, str]:
    return {"content-type": "application/octet-stream", "content-length": str(length)}
