"""Uploads to one repository: sessions, and mounts that spare them (distribution specification, "Pushing blobs")."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING

import httpx

from imageferry.errors import ImageferryError
from imageferry.registry.client import check_status
from imageferry.registry.errors import InvalidResponse, RegistryError, Unavailable, Unreachable, error_for
from imageferry.text import short_digest

if TYPE_CHECKING:
    from imageferry.registry.repository import Repository

logger = logging.getLogger(__name__)

#: Seconds that a registry has to drop a session: a run that is stopped must not wait for one that hangs.
CANCEL_LIMIT = 3.0

#: How registries refuse a PUT that brings bytes: JFrog wants them in a PATCH before it.
_NO_BYTES_WITH_PUT = frozenset({400, 405, 411, 415, 416})

#: How registries refuse PATCH as such, and how one that goes on where another one broke.
_NO_PATCH = frozenset({400, 405, 501})
_NO_SESSION = frozenset({404, 416})

#: Codes of errors that another session meets as well (distribution specification, "Error Codes").
_FINAL_CODES = frozenset({"DIGEST_INVALID", "NAME_INVALID", "NAME_UNKNOWN", "DENIED", "UNAUTHORIZED"})

#: The fewest bytes of one PATCH, whatever a registry wants: it could ask for a request a byte.
LEAST_CHUNK = 64 * 1024

#: Bytes of one PATCH where a registry, or the proxy before it, refuses a larger one with 413.
CHUNK_SIZE = 32 * 1024 * 1024

#: Sessions that a small blob is tried with.
WHOLE_ATTEMPTS = 3

#: Seconds until a registry that refuses what goes on has seen that the connection before it is gone.
SETTLING = 0.5

#: The bytes that a session has, the last one's number included; older registries write the unit before.
_RANGE = re.compile(r"^(?:bytes[= ])?0-([0-9]{1,18})$")


class BrokenOff(Unavailable):
    """An upload broke off and can go on: where it stands, or in a new session."""


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
        action = f"start the upload of blob {short_digest(digest)} to {repository.name}"
        answer = await repository.send("POST", "blobs/uploads/", action=action, content=b"")
        if answer.status_code == 404 and await repository.create():
            answer = await repository.send("POST", "blobs/uploads/", action=action, content=b"")
        check_status(answer, action, repository.host, 202)
        self._learn(answer)
        return Upload(repository, digest, _location(answer, action))

    async def mount(self, digest: str, source: str) -> Upload | None:
        """Have the registry take the blob from its repository ``source``; None when it did.

        A registry that will not (202, or 401, 403, 404, 405: the specification lets it) leaves an upload session: the
        one it opened instead, or a new one. Raises ``RegistryError``.
        """
        repository = self._repository
        action = f"mount blob {short_digest(digest)} from {source} to {repository.name}"
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
            self._learn(answer)
            return Upload(repository, digest, _location(answer, action))
        return await self.start(digest)

    def _learn(self, answer: httpx.Response) -> None:
        """Note how large the registry wants its chunks (distribution specification, "Pushing a blob in chunks")."""
        ways = self._repository.endpoint.ways
        for header, name in (("oci-chunk-min-length", "least_chunk"), ("oci-chunk-max-length", "most_chunk")):
            value = answer.headers.get(header, "")
            if re.fullmatch(r"[0-9]{1,18}", value):
                setattr(ways, name, int(value))


class Upload:
    """One upload session. Its location changes with every answer.

    ``offset`` is how many bytes of the blob the registry has acknowledged; ``committed`` says that it has the blob.
    """

    def __init__(self, repository: Repository, digest: str, location: httpx.URL) -> None:
        self.action = f"upload blob {short_digest(digest)} to {repository.name}"
        self.committed = False
        self._repository = repository
        self._digest = digest
        self._ways = repository.endpoint.ways
        self._enter(location)

    def _enter(self, location: httpx.URL) -> None:
        self.offset = 0
        self._location = location
        #: Whether the last request went by PUT, and whether one that commits has been sent.
        self._put = self._ending = False
        #: Whether the session is of no more use, and whether it is not there any more.
        self._lost = self._gone = False
        #: Whether the last request was turned away before a byte of it was taken.
        self._untouched = False
        #: Whether a token has been renewed for what is sent now.
        self._renewed = False
        #: The most bytes that it can have.
        self._sent = 0
        #: The byte from which on it was gone on with last, and whether that was refused.
        self._resumed_at = 0
        self._refused_at: int | None = None

    async def put(self, content: bytes) -> None:
        """Send the whole of a small blob and commit it: in one request, where the registry takes bytes with it.

        Raises ``RegistryError``.
        """
        try:
            await self._put_whole(content)
        except asyncio.CancelledError:
            await self.cancel()
            raise

    async def _put_whole(self, content: bytes) -> None:
        for attempt in range(1, WHOLE_ATTEMPTS + 1):
            # Asked once: another upload may learn meanwhile that it does not take them.
            by_put = self._ways.bytes_with_put or not content
            try:
                if by_put:
                    await self._commit(content)
                else:
                    await self.patch(content, len(content))
                    await self.commit()
            except RegistryError as error:
                if attempt == WHOLE_ATTEMPTS or not self._is_worth_another(error, content if by_put else b"", attempt):
                    raise
                await self._start_anew()
            else:
                return

    def _is_worth_another(self, error: RegistryError, put: bytes, attempt: int) -> bool:
        """Whether another session may take a small blob, of which ``put`` went with the refused PUT."""
        if "DIGEST_INVALID" in error.codes:
            # A PUT that broke may have left bytes, before which those of the next one come.
            return attempt == 1
        if put and error.status in _NO_BYTES_WITH_PUT:
            # 416 is also said of a session that broke off.
            self._ways.bytes_with_put &= error.status == 416 and attempt == 1
            return True
        return isinstance(error, BrokenOff)

    def next_length(self, size: int) -> int:
        """Give the bytes that the next request is to bring of a blob of ``size`` bytes."""
        ways, rest = self._ways, size - self.offset
        if not ways.patch or not ways.most_chunk:
            return rest
        return min(rest, max(ways.most_chunk, ways.least_chunk, LEAST_CHUNK))

    async def send(self, content: bytes | httpx.AsyncByteStream, length: int, size: int) -> None:
        """Send the next ``length`` bytes of a blob of ``size`` bytes: nothing is committed but by the last of a PUT.

        ``took`` says that all of it was sent indeed. Raises ``RegistryError``: ``BrokenOff`` where ``resume`` helps.
        """
        headers = {"content-type": "application/octet-stream", "content-length": str(length)}
        self._put = not self._ways.patch and length == size
        if self._put:
            self._ending = True
            answer = await self._send("PUT", self._committing, headers, content)
        else:
            if length < size:
                headers["content-range"] = f"{self.offset}-{self.offset + length - 1}"
            answer = await self._send("PATCH", self._location, headers, content)
        # docker/distribution answers 202 to a PATCH, JFrog and GitLab's old ones 201 or 204.
        if answer.status_code not in ((201, 204) if self._put else (202, 201, 204)):
            raise self._refusal(answer, length)
        # The Range of the answer is not looked at: ECR's is one request behind.
        if not self._put and "location" in answer.headers:
            self._location = _location(answer, self.action)

    async def patch(self, content: bytes | httpx.AsyncByteStream, size: int) -> None:
        """Send the blob's ``size`` bytes at once, and note that they are there. Raises ``RegistryError``."""
        await self.send(content, size, size)
        self.took(size)

    def took(self, length: int) -> None:
        """Note that the ``length`` bytes of the last request were sent and acknowledged."""
        self.offset += length
        self.committed = self._put
        self._renewed = False

    async def resume(self, sent: int, size: int) -> None:
        """After a break find out from which byte on to go on: ``offset``; where the session is lost, start anew at 0.

        ``sent`` bytes of ``size`` had been given to the connection. Raises ``RegistryError``.
        """
        self._sent = max(self._sent, sent)
        if self._ending and await self._repository.blobs.exists(self._digest):
            self.offset, self.committed = size, True
            return
        goes_on = not self._lost and not self._put and self._ways.resumes
        if goes_on and self._refused_at is not None:
            await asyncio.sleep(SETTLING)
        told = await self._status() if goes_on else None
        if self._untouched:
            self._untouched = False
            return
        if told is not None and told == self._refused_at:
            # Its Range is not where it stands (ECR), or it does not go on at all (GAR).
            self._ways.resumes = False
        elif told and told <= self._sent:
            # What was acknowledged is there, though the Range may be a request behind.
            self.offset = self._resumed_at = max(told, self.offset)
            return
        # Also where it says that it has nothing: bytes that come late would stand before those that are sent now.
        await self._start_anew()

    async def commit(self) -> None:
        """End the session: what was sent is the blob. Raises ``RegistryError``: see ``send``."""
        if not self.committed:
            await self._commit(b"")

    async def cancel(self) -> None:
        """Drop the session. A registry that refuses is left to time it out."""
        try:
            async with asyncio.timeout(CANCEL_LIMIT):
                await self._send("DELETE", self._location, {}, None, once=True)
        except (ImageferryError, TimeoutError) as error:
            logger.debug("upload session left behind: %s", error)

    @property
    def _committing(self) -> httpx.URL:
        return self._location.copy_merge_params({"digest": self._digest})

    async def _commit(self, content: bytes) -> None:
        self._ending = True
        headers = {"content-type": "application/octet-stream", "content-length": str(len(content))}
        try:
            answer = await self._send("PUT", self._committing, headers, content)
        except Unreachable:
            if not await self._repository.blobs.exists(self._digest):
                raise
        else:
            if answer.status_code not in (201, 204):
                await self._bear(self._refusal(answer, len(content), committing=True))
        self.committed = True

    async def _bear(self, error: RegistryError) -> None:
        """Raise the error of a commit, unless a try before it ended the session and only its answer was lost."""
        may_be_done = error.transient or error.status in (400, 404, 416)
        if not may_be_done or "DIGEST_INVALID" in error.codes or not await self._repository.blobs.exists(self._digest):
            raise error

    async def _status(self) -> int | None:
        """Ask how many bytes the session has (specification, "Pushing a blob in chunks"); None where it has none."""
        answer = await self._send("GET", self._location, {}, None)
        self._gone = answer.status_code == 404
        if not answer.is_success:
            return None
        if "location" in answer.headers and not self._untouched:
            self._location = _location(answer, self.action)
        match = _RANGE.match(answer.headers.get("range", ""))
        if match is None:
            return None
        last = int(match[1])
        # 0-0 is also how registries write that there is none.
        return last + 1 if last else 0

    async def _start_anew(self) -> None:
        if not self._gone:
            await self.cancel()
        fresh = await self._repository.uploads.start(self._digest)
        self._enter(fresh._location)

    def _refusal(self, answer: httpx.Response, length: int, *, committing: bool = False) -> RegistryError:
        """Make the error for an answer to bytes; where they may be sent in another way, see that they will be."""
        host, status = self._repository.host, answer.status_code
        if status in (307, 308):
            self._location, self._untouched = _location(answer, self.action), True
            return BrokenOff(self.action, f"{host} wants it at {self._location.host}", status=status)
        if status == 401 and not committing and not self._renewed:
            # The session was opened, so the token ended since; a stream cannot be sent a second time.
            self._untouched = self._renewed = True
            return BrokenOff(self.action, "its token ended before the bytes were taken", status=401)
        if status < 400:
            return InvalidResponse(self.action, f"{host} answered {status} to bytes of a blob", status=status)
        error = error_for(answer, self.action, host)
        if self._is_lost(error, committing=committing) or self._learns(error, length, committing=committing):
            return BrokenOff(self.action, error.reason, status=status, codes=error.codes)
        return error

    def _is_lost(self, error: RegistryError, *, committing: bool) -> bool:
        """Whether it is the session that is at fault, so that a status or another session may help."""
        if "DIGEST_INVALID" in error.codes:
            # Not what was read, which hashes: the registry's count of what it had was wrong.
            self._lost = self._resumed_at > 0
            return self._lost
        if _FINAL_CODES.intersection(error.codes):
            return False
        if committing and error.status == 400 and "BLOB_UPLOAD_INVALID" in error.codes:
            # The address was not the newest: an answer before it came late, or twice.
            self._lost = True
            return True
        if self.offset and not committing and error.status in _NO_PATCH | _NO_SESSION:
            self._refused_at = self.offset
            self._gone = error.status == 404
            self._lost = error.status != 416
            # An upload in chunks from the start is another matter than one that goes on.
            self._ways.resumes &= error.status in _NO_SESSION or self.offset != self._resumed_at
            return True
        if error.status in _NO_SESSION:
            self._lost, self._gone = True, error.status == 404
            return True
        return False

    def _learns(self, error: RegistryError, length: int, *, committing: bool) -> bool:
        """Whether the registry wants large blobs in another way than they were sent; from now on they are."""
        ways = self._ways
        if committing or self._put or _FINAL_CODES.intersection(error.codes):
            return False
        if error.status == 413 and length > max(CHUNK_SIZE, ways.least_chunk):
            ways.most_chunk = max(CHUNK_SIZE, ways.least_chunk)
            return True
        if error.status in _NO_PATCH and not self.offset and ways.patch and ways.bytes_with_put:
            ways.patch = False
            self._lost = True
            return True
        return False

    async def _send(
        self,
        method: str,
        url: httpx.URL,
        headers: dict[str, str],
        content: bytes | httpx.AsyncByteStream | None,
        *,
        once: bool = False,
    ) -> httpx.Response:
        repository = self._repository
        return await repository.endpoint.send(
            method, url, action=self.action, scopes=repository.scopes, headers=headers, content=content, once=once
        )


def _location(answer: httpx.Response, action: str) -> httpx.URL:
    """Give the session's address: relative to the request, at another host, with a query that must be kept."""
    location, asked = answer.headers.get("location", ""), answer.request.url
    try:
        if not location:
            raise httpx.InvalidURL("none")
        url = asked.join(location)
    except httpx.InvalidURL:
        raise InvalidResponse(action, f"the registry opened a session without an address ({location!r})") from None
    if (url.scheme, url.host, asked.scheme) == ("http", asked.host, "https") and url.port in (None, 443, asked.port):
        # A registry behind a proxy that speaks TLS for it does not know that it is asked by https.
        return url.copy_with(scheme="https", port=asked.port)
    return url
