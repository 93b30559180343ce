"""How one registry takes uploads, and what its refusals mean.

The distribution specification ("Pushing blobs") leaves much open, and registries go their own ways. Each such habit is
a row of ``HABITS``; what a refusal teaches is kept in the registry's ``UploadDialect``, so that it costs one request a
run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from imageferry.registry.errors import TRANSIENT_STATUSES

# The fewest bytes of one PATCH, whatever a registry wants: it could ask for a request a byte.
LEAST_CHUNK = 64 * 1024

# Bytes of one PATCH if a registry, or the proxy before it, refuses a larger one with 413.
CHUNK_SIZE = 32 * 1024 * 1024

# Mounts in a row that a registry fails to answer properly before it is not asked for another.
FAILED_MOUNTS = 3


class Verdict(Enum):
    """What a refusal means for the upload."""

    # The registry will not have the blob: the error stands.
    FINAL = auto()
    # The registry may take it later: the error stands, and is transient.
    RETRY = auto()
    # Nothing was taken: the same bytes go to the address that was given instead.
    FOLLOW = auto()
    # Nothing was taken: the same bytes go with a new token.
    RENEW_TOKEN = auto()
    # The session may be good: ask it where it stands, a moment later.
    ASK_STATUS = auto()
    # The session is of no more use.
    NEW_SESSION = auto()
    # As NEW_SESSION; and a session that broke off is not resumed at this registry.
    NO_RESUME = auto()
    # As NEW_SESSION; and a large blob is one streamed PUT at this registry.
    USE_PUT = auto()
    # As NEW_SESSION; and bytes go by PATCH, before a PUT without any, at this registry.
    USE_PATCH = auto()
    # Bytes go by several requests at this registry.
    SMALLER_CHUNKS = auto()


@dataclass(slots=True)
class UploadDialect:
    """How one registry takes uploads, as far as is known; at first as the distribution specification says."""

    # Bytes may come with the PUT that commits them (JFrog wants them in a PATCH before it).
    bytes_with_put: bool = True
    # It takes PATCH; if it does not, a large blob is one streamed PUT.
    patch: bool = True
    # A session that broke off can be resumed (not at GAR, which refuses chunks).
    resumes: bool = True
    # The fewest and the most bytes of one PATCH but the last; 0 without such a bound.
    least_chunk: int = 0
    most_chunk: int = 0
    # Mounts in a row that have failed, other than by a refusal that may be of one blob or repository.
    failed_mounts: int = 0

    @property
    def mounts(self) -> bool:
        """Whether it is worth asking for a mount."""
        return self.failed_mounts < FAILED_MOUNTS

    @property
    def chunk_size(self) -> int:
        """The bytes of one PATCH for a large blob; 0 if it is one request."""
        return max(self.most_chunk, self.least_chunk, LEAST_CHUNK) if self.patch and self.most_chunk else 0

    def adopt(self, verdict: Verdict) -> None:
        """Keep what a verdict says of this registry."""
        if verdict is Verdict.USE_PUT:
            self.patch = False
        elif verdict is Verdict.USE_PATCH:
            self.bytes_with_put = False
        elif verdict is Verdict.NO_RESUME:
            self.resumes = False
        elif verdict is Verdict.SMALLER_CHUNKS:
            self.most_chunk = max(CHUNK_SIZE, self.least_chunk)

    def read_chunk_bounds(self, headers: Mapping[str, str]) -> None:
        """Keep how large the registry wants its chunks (specification, "Pushing a blob in chunks")."""
        self.least_chunk = _bound(headers, "oci-chunk-min-length", self.least_chunk)
        self.most_chunk = _bound(headers, "oci-chunk-max-length", self.most_chunk)


def _bound(headers: Mapping[str, str], name: str, known: int) -> int:
    value = headers.get(name, "")
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value) else known


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that was refused, as far as it decides what that means."""

    # The first byte of the blob that it brought, and how many it brought.
    offset: int = 0
    length: int = 0
    # It was the PUT that ends a session: without bytes, or with those of a small blob.
    commits: bool = False
    # It was a PUT that streams the whole of a large blob.
    streams_put: bool = False
    # The byte at which the upload was resumed last; 0 if it never was.
    resumed_at: int = 0
    # A new token was asked for since bytes were taken last.
    token_renewed: bool = False
    # Which session of a small blob it is, from 1; 0 for a large blob.
    attempt: int = 0

    @property
    def commits_bytes(self) -> bool:
        """Whether it brought a small blob with the PUT that ends the session."""
        return self.commits and self.length > 0

    @property
    def goes_on(self) -> bool:
        """Whether it brought bytes to a session that has some already."""
        return self.offset > 0 and not self.commits

    @property
    def patches(self) -> bool:
        """Whether it was a PATCH."""
        return not self.commits and not self.streams_put


Condition = Callable[[Sent, UploadDialect], bool]


def _always(_sent: Sent, _dialect: UploadDialect) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Habit:
    """A row of the table: ``statuses`` and error ``codes`` (None: any; codes: one of them), and a condition."""

    verdict: Verdict
    statuses: frozenset[int] | None
    codes: frozenset[str] | None = None
    when: Condition = _always

    def fits(self, status: int, codes: Iterable[str], sent: Sent, dialect: UploadDialect) -> bool:
        """Whether the row is of this answer."""
        return (
            (self.statuses is None or status in self.statuses)
            and (self.codes is None or not self.codes.isdisjoint(codes))
            and self.when(sent, dialect)
        )


def _set(*statuses: int) -> frozenset[int]:
    return frozenset(statuses)


_DIGEST_INVALID = frozenset({"DIGEST_INVALID"})

# How registries refuse PATCH as such.
_NO_PATCH = _set(400, 405, 501)

# The first row that fits says what a refusal means (specification, "Error Codes" for the codes).
HABITS = (
    # It wants the bytes elsewhere: a stream cannot be sent twice, so httpx has not followed.
    Habit(Verdict.FOLLOW, _set(307, 308)),
    # The token ended since the session was opened: a stream cannot be sent twice, so it was not renewed on the way.
    Habit(Verdict.RENEW_TOKEN, _set(401), when=lambda sent, _: not sent.commits and not sent.token_renewed),
    # What was read hashes to the digest, so the byte at which the upload was resumed was not where it stood.
    Habit(Verdict.NEW_SESSION, None, _DIGEST_INVALID, lambda sent, _: sent.resumed_at > 0),
    # A PUT that broke has left bytes, before which those of the next try came.
    Habit(Verdict.NEW_SESSION, None, _DIGEST_INVALID, lambda sent, _: sent.attempt == 1),
    # Quay and Nexus answer 500 for a repository that does not exist.
    Habit(Verdict.FINAL, TRANSIENT_STATUSES, frozenset({"NAME_UNKNOWN"})),
    # It is busy, or its limit is reached.
    Habit(Verdict.RETRY, TRANSIENT_STATUSES),
    # The bytes are others than the digest's.
    Habit(Verdict.FINAL, None, _DIGEST_INVALID),
    # 416 is also said of a session that broke off: only a second one shows that it is the bytes.
    Habit(Verdict.NEW_SESSION, _set(416), when=lambda sent, _: sent.commits_bytes and sent.attempt == 1),
    # JFrog wants bytes in a PATCH before the PUT.
    Habit(Verdict.USE_PATCH, _set(400, 405, 411, 415, 416), when=lambda sent, _: sent.commits_bytes),
    # Another session would meet the same.
    Habit(Verdict.FINAL, None, frozenset({"NAME_INVALID", "NAME_UNKNOWN", "DENIED", "UNAUTHORIZED"})),
    # The address was not the newest: an answer before it came late, or twice.
    Habit(Verdict.NEW_SESSION, _set(400), frozenset({"BLOB_UPLOAD_INVALID"}), lambda sent, _: sent.commits),
    # It has not seen yet that the connection before is gone, its Range is one request behind (ECR), or it resumes none.
    Habit(Verdict.ASK_STATUS, _set(416), when=lambda sent, _: sent.goes_on),
    # GAR refuses what goes on at the byte at which an upload was resumed.
    Habit(Verdict.NO_RESUME, _NO_PATCH, when=lambda sent, _: sent.goes_on and sent.offset == sent.resumed_at),
    # A later chunk is refused: another matter than an upload that was resumed.
    Habit(Verdict.NEW_SESSION, _NO_PATCH, when=lambda sent, _: sent.goes_on),
    # The session is gone: docker/distribution 2.8 drops one whose PATCH broke; others time them out.
    Habit(Verdict.NEW_SESSION, _set(404, 416)),
    # A proxy before it bounds what one request may bring.
    Habit(
        Verdict.SMALLER_CHUNKS,
        _set(413),
        when=lambda sent, dialect: sent.patches and sent.length > max(CHUNK_SIZE, dialect.least_chunk),
    ),
    # It takes no PATCH at all; one that takes bytes in no PUT either is not served by this.
    Habit(
        Verdict.USE_PUT,
        _NO_PATCH,
        when=lambda sent, dialect: sent.patches and dialect.patch and dialect.bytes_with_put,
    ),
)


def classify(status: int, codes: Iterable[str], sent: Sent, dialect: UploadDialect) -> Verdict:
    """Return what a refusal with this status and these error codes means; nothing is changed."""
    codes = tuple(codes)
    return next((habit.verdict for habit in HABITS if habit.fits(status, codes, sent, dialect)), Verdict.FINAL)
