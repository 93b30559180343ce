"""The upload of one blob: a session at a time, and what comes after each refusal or break."""

from __future__ import annotations

import asyncio
from enum import Enum, auto

import httpx

from imageferry.registry.blobs import Blobs
from imageferry.registry.errors import InvalidResponse, RegistryError, Unavailable, Unreachable, error_for
from imageferry.registry.repository_client import RepositoryClient
from imageferry.registry.upload_dialect import Sent, Verdict, classify
from imageferry.registry.upload_session import UploadSession, session_location, start_session

# Sessions that a small blob is tried with.
WHOLE_ATTEMPTS = 3

# Seconds that an upload which is given up has to end in order.
END_LIMIT = 1.0

# Seconds until a registry that refuses an upload that goes on has seen that the connection before it is gone.
SETTLING = 0.5

# Verdicts that are errors as they are, that leave the bytes to be sent again, and that leave a session of no use.
_ERRORS = frozenset({Verdict.FINAL, Verdict.RETRY})
_UNTAKEN = frozenset({Verdict.FOLLOW, Verdict.RENEW_TOKEN})
_LOST = frozenset({Verdict.NEW_SESSION, Verdict.NO_RESUME, Verdict.USE_PUT, Verdict.USE_PATCH})


class BrokenOff(Unavailable):
    """An upload broke off and can go on: where it stands, or in a new session."""


class State(Enum):
    """How far a session has come."""

    # Bytes go to it by PATCH.
    OPEN = auto()
    # The whole of a large blob went to it by PUT: it is there, or nothing is.
    PUT_SENT = auto()
    # The PUT that ends it was sent: the blob may be there, though no answer came.
    COMMIT_SENT = auto()
    # The registry has the blob.
    COMMITTED = auto()


class Upload:
    """The upload of one blob: ``send`` and ``took`` until all is sent, then ``commit``; after a break ``resume``.

    ``offset`` is how many bytes of the blob the registry has acknowledged; ``committed`` says that it has the blob.
    """

    def __init__(self, repository: RepositoryClient, digest: str, session: UploadSession) -> None:
        self.action = session.action
        self._repository = repository
        self._blobs = Blobs(repository)
        self._digest = digest
        self._dialect = repository.client.upload_dialect
        self._enter(session)

    def _enter(self, session: UploadSession) -> None:
        self.offset = 0
        self._session = session
        self._state = State.OPEN
        # What the last request was refused for; None if it was not refused, or brought no answer.
        self._verdict: Verdict | None = None
        # A new token was asked for since bytes were taken last.
        self._token_renewed = False
        # The most bytes that the session can have.
        self._sent = 0
        # The byte at which it was resumed last (0: never), and the one from which on bytes were refused.
        self._resumed_at = 0
        self._refused_at: int | None = None

    @property
    def committed(self) -> bool:
        """Whether the registry has the blob."""
        return self._state is State.COMMITTED

    @property
    def may_end_early(self) -> bool:
        """Whether the bytes that are under way may end before the last of them: nothing is committed by that."""
        is_whole = self._state is State.OPEN and self.offset == 0 and not self._dialect.chunk_size
        return is_whole and self._session.may_end_early

    def next_length(self, size: int) -> int:
        """Return how many bytes the next request is to bring of a blob of ``size`` bytes."""
        rest = size - self.offset
        return min(rest, self._dialect.chunk_size or rest)

    async def send(self, content: bytes | httpx.AsyncByteStream, length: int, size: int) -> None:
        """Send the next ``length`` bytes of a blob of ``size`` bytes: only the last byte of a PUT commits anything.

        Call ``took`` if all of it was sent indeed. Raises ``RegistryError``: ``BrokenOff`` if ``resume`` helps.
        """
        await self._send_bytes(content, length, size)

    async def _send_bytes(
        self, content: bytes | httpx.AsyncByteStream, length: int, size: int, attempt: int = 0
    ) -> None:
        streams_put = length == size and not self._dialect.patch
        self._verdict = None
        if streams_put:
            self._state = State.PUT_SENT
            answer = await self._session.put(content, length)
        else:
            answer = await self._session.patch(content, length, self.offset if length < size else None)
        # docker/distribution answers 202 to a PATCH, JFrog and GitLab's old ones 201 or 204.
        if answer.status_code not in ((201, 204) if streams_put else (202, 201, 204)):
            raise self._refused(answer, self._describe(length, streams_put=streams_put, attempt=attempt))
        # The Range of the answer is not looked at: ECR's is one request behind.
        if not streams_put:
            self._session.follow(answer)

    async def patch(self, content: bytes | httpx.AsyncByteStream, size: int) -> None:
        """Send the blob's ``size`` bytes at once, and note that they are there. Raises ``RegistryError``."""
        await self._send_bytes(content, size, size)
        self.took(size)

    def took(self, length: int) -> None:
        """Note that the ``length`` bytes of the last request were sent and acknowledged."""
        self.offset += length
        self._token_renewed = False
        if self._state is State.PUT_SENT:
            self._state = State.COMMITTED

    async def commit(self) -> None:
        """End the session: what was sent is the blob. Raises ``RegistryError``: see ``send``."""
        if not self.committed:
            await self._commit(b"")

    async def cancel(self) -> None:
        """Drop the session. If a registry refuses, it is left to time out there."""
        await self._session.cancel()

    async def put(self, content: bytes) -> None:
        """Send the whole of a small blob and commit it: in one request, if the registry takes bytes with it.

        Raises ``RegistryError``.
        """
        putting = asyncio.create_task(self._put_whole(content))
        try:
            await asyncio.shield(putting)
        except asyncio.CancelledError:
            # What is under way ends in order if it is quick: docker/distribution 2.8 drops no session that broke off.
            await asyncio.wait({putting}, timeout=END_LIMIT)
            if not putting.done():
                putting.cancel()
                await asyncio.wait({putting})
            if putting.cancelled() or putting.exception() is not None or not self.committed:
                await self.cancel()
            raise

    async def _put_whole(self, content: bytes) -> None:
        for attempt in range(1, WHOLE_ATTEMPTS + 1):
            try:
                if self._dialect.bytes_with_put or not content:
                    await self._commit(content, attempt)
                else:
                    await self._send_bytes(content, len(content), len(content), attempt)
                    self.took(len(content))
                    if not self.committed:
                        await self._commit(b"", attempt)
            except RegistryError as error:
                if self._verdict is None or self._verdict in _ERRORS:
                    raise
                if attempt == WHOLE_ATTEMPTS:
                    # The sessions before it were lost too: that may heal, whatever the last one was refused for.
                    raise BrokenOff(self.action, error.reason, status=error.status, codes=error.codes) from None
                if self._verdict is Verdict.USE_PATCH:
                    self._dialect.adopt(self._verdict)
                await self._start_anew()
            else:
                return

    async def resume(self, sent: int, size: int) -> None:
        """After a break find out at which byte to go on: ``offset``; if the session is lost, start a new one at 0.

        ``sent`` bytes of ``size`` had been given to the connection. Raises ``RegistryError``.
        """
        self._sent = max(self._sent, sent)
        if self._state is not State.OPEN and await self._blobs.exists(self._digest):
            self.offset, self._state = size, State.COMMITTED
            return
        stands_at = await self._ask_where_it_stands()
        if self._verdict in _UNTAKEN:
            self._verdict = None
        elif stands_at is not None and stands_at == self._refused_at:
            # Its Range is not where it stands (ECR), or it resumes no upload (GAR).
            self._dialect.adopt(Verdict.NO_RESUME)
            await self._start_anew()
        elif stands_at and stands_at <= self._sent:
            # What was acknowledged is there, though the Range may be a request behind.
            self.offset = self._resumed_at = max(stands_at, self.offset)
            self._verdict = None
        else:
            # Also if it says that it has nothing: bytes that come late would stand before those that are sent now.
            await self._start_anew()

    async def _ask_where_it_stands(self) -> int | None:
        """Return how many bytes the session has; None if it cannot be resumed, or does not say."""
        if self._verdict in _LOST or self._state is State.PUT_SENT or not self._dialect.resumes:
            return None
        if self._refused_at is not None:
            await asyncio.sleep(SETTLING)
        return await self._session.status(keep_location=self._verdict in _UNTAKEN)

    async def _commit(self, content: bytes, attempt: int = 0) -> None:
        self._verdict = None
        self._state = State.COMMIT_SENT
        try:
            answer = await self._session.put(content, len(content))
        except Unreachable:
            if not await self._blobs.exists(self._digest):
                raise
        else:
            if answer.status_code not in (201, 204):
                error = self._refused(answer, self._describe(len(content), commits=True, attempt=attempt))
                await self._raise_unless_done(error)
        self._state = State.COMMITTED

    async def _raise_unless_done(self, error: RegistryError) -> None:
        """Raise the error of a commit, unless a try before it ended the session and only its answer was lost."""
        may_be_done = error.transient or error.status in (400, 404, 416)
        if not may_be_done or "DIGEST_INVALID" in error.codes or not await self._blobs.exists(self._digest):
            raise error

    async def _start_anew(self) -> None:
        if not self._session.gone:
            await self._session.cancel()
        self._enter(await start_session(self._repository, self._digest))

    def _describe(self, length: int, *, commits: bool = False, streams_put: bool = False, attempt: int = 0) -> Sent:
        return Sent(
            self.offset,
            length,
            commits=commits,
            streams_put=streams_put,
            resumed_at=self._resumed_at,
            token_renewed=self._token_renewed,
            attempt=attempt,
        )

    def _refused(self, answer: httpx.Response, sent: Sent) -> RegistryError:
        """Apply what a refusal means, and return its error: ``BrokenOff`` if the upload can go on."""
        host, status = self._repository.host, answer.status_code
        error: RegistryError
        if status < 400:
            error = InvalidResponse(self.action, f"{host} answered {status} to bytes of a blob", status=status)
        else:
            error = error_for(answer, self.action, host)
        verdict = classify(status, error.codes, sent, self._dialect)
        self._apply(verdict, answer, sent)
        if verdict in _ERRORS or verdict is Verdict.USE_PATCH:
            # USE_PATCH is of small blobs: ``put`` tries another session, and if none is left this is what was wrong.
            return error
        reason = error.reason
        if verdict is Verdict.FOLLOW:
            reason = f"{host} wants it at {self._session.location.netloc.decode()}"
        elif verdict is Verdict.RENEW_TOKEN:
            reason = "its token ended before the bytes were taken"
        return BrokenOff(self.action, reason, status=status, codes=error.codes)

    def _apply(self, verdict: Verdict, answer: httpx.Response, sent: Sent) -> None:
        match verdict:
            case Verdict.FOLLOW:
                self._session.location = session_location(answer, self.action)
            case Verdict.RENEW_TOKEN:
                self._token_renewed = True
            case Verdict.ASK_STATUS:
                self._session.gone = False
                self._refused_at = sent.offset
            case Verdict.NEW_SESSION | Verdict.NO_RESUME:
                self._session.gone = answer.status_code == 404
        if verdict is not Verdict.USE_PATCH:
            # That one is adopted by ``put``: the refusal may be of a blob that a try before it committed.
            self._dialect.adopt(verdict)
        self._verdict = verdict
