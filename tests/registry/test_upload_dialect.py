"""What each refusal of an upload means, habit by habit, and what a registry's dialect keeps of it."""

import dataclasses

import pytest

from imageferry.registry.upload_dialect import (
    CHUNK_SIZE,
    HABITS,
    LEAST_CHUNK,
    Sent,
    UploadDialect,
    Verdict,
    classify,
)

MIB = 1024 * 1024

# What may have been sent.
PATCH = Sent(length=5 * MIB)
LARGE_PATCH = Sent(length=CHUNK_SIZE + 1)
CHUNK = Sent(offset=10 * MIB, length=5 * MIB)
RESUMED = Sent(offset=10 * MIB, length=5 * MIB, resumed_at=10 * MIB)
LATER = Sent(offset=15 * MIB, length=5 * MIB, resumed_at=10 * MIB)
RENEWED = Sent(length=5 * MIB, token_renewed=True)
STREAMED_PUT = Sent(length=40 * MIB, streams_put=True)
COMMIT = Sent(offset=15 * MIB, commits=True)
RESUMED_COMMIT = Sent(offset=15 * MIB, commits=True, resumed_at=10 * MIB)
SMALL = Sent(length=5000, commits=True, attempt=1)
SMALL_AGAIN = Sent(length=5000, commits=True, attempt=2)
SMALL_PATCH = Sent(length=5000, attempt=1)
SMALL_PATCH_AGAIN = Sent(length=5000, attempt=2)
SMALL_COMMIT = Sent(offset=5000, commits=True, attempt=1)
EMPTY = Sent(commits=True, attempt=1)

SPECIFICATION = UploadDialect()
PATCH_FIRST = UploadDialect(bytes_with_put=False)
PUT_ONLY = UploadDialect(patch=False)


def meaning(status: int, codes: str, sent: Sent, dialect: UploadDialect = SPECIFICATION) -> Verdict:
    return classify(status, codes.split(), sent, dialect)


@pytest.mark.parametrize("sent", [PATCH, CHUNK, RESUMED, STREAMED_PUT, COMMIT, SMALL, SMALL_PATCH_AGAIN])
@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_is_followed_with_the_same_bytes(status: int, sent: Sent) -> None:
    assert meaning(status, "", sent) is Verdict.FOLLOW


@pytest.mark.parametrize(
    ("sent", "verdict"),
    [
        (PATCH, Verdict.RENEW_TOKEN),
        (RESUMED, Verdict.RENEW_TOKEN),
        (STREAMED_PUT, Verdict.RENEW_TOKEN),
        (SMALL_PATCH, Verdict.RENEW_TOKEN),
        # A second time in a row the token is not what is wrong.
        (RENEWED, Verdict.FINAL),
        # What is in memory has been sent with a new token already.
        (COMMIT, Verdict.FINAL),
        (SMALL, Verdict.FINAL),
    ],
)
def test_a_token_that_ended_is_renewed_once(sent: Sent, verdict: Verdict) -> None:
    assert meaning(401, "UNAUTHORIZED", sent) is verdict


@pytest.mark.parametrize("status", [400, 404, 500])
@pytest.mark.parametrize(
    ("sent", "starts_anew"),
    [
        # It was resumed at another byte than where it stood.
        (RESUMED, True),
        (LATER, True),
        (RESUMED_COMMIT, True),
        # A PUT that broke may have left bytes: another session tells, once.
        (SMALL, True),
        (SMALL_PATCH, True),
        (SMALL_COMMIT, True),
        (SMALL_AGAIN, False),
        (SMALL_PATCH_AGAIN, False),
        # All was sent in one go: the bytes are wrong.
        (PATCH, False),
        (COMMIT, False),
        (STREAMED_PUT, False),
    ],
)
def test_an_invalid_digest_is_the_sessions_fault_only_where_bytes_may_have_come_twice(
    status: int, sent: Sent, starts_anew: bool
) -> None:
    stands = Verdict.RETRY if status == 500 else Verdict.FINAL
    assert meaning(status, "DIGEST_INVALID", sent) is (Verdict.NEW_SESSION if starts_anew else stands)


@pytest.mark.parametrize("sent", [PATCH, CHUNK, RESUMED, STREAMED_PUT, COMMIT, SMALL])
def test_a_busy_registry_is_tried_again_but_not_one_that_does_not_know_the_name(sent: Sent) -> None:
    for status in (408, 425, 429, 500, 502, 503, 504):
        assert meaning(status, "", sent) is Verdict.RETRY
        assert meaning(status, "UNAVAILABLE", sent) is Verdict.RETRY
        assert meaning(status, "NAME_UNKNOWN", sent) is Verdict.FINAL


@pytest.mark.parametrize(
    ("status", "sent", "verdict"),
    [
        *((status, SMALL, Verdict.USE_PATCH) for status in (400, 405, 411, 415)),
        *((status, SMALL_AGAIN, Verdict.USE_PATCH) for status in (400, 405, 411, 415, 416)),
        # 416 is also said of a session that broke off.
        (416, SMALL, Verdict.NEW_SESSION),
        # Other refusals are no matter of the way.
        *((status, SMALL, Verdict.FINAL) for status in (403, 409, 413, 501)),
        # Without bytes there are none to send by PATCH.
        (405, EMPTY, Verdict.FINAL),
        (400, EMPTY, Verdict.FINAL),
        (400, SMALL_COMMIT, Verdict.FINAL),
    ],
)
def test_a_put_with_bytes_that_is_refused_goes_by_patch(status: int, sent: Sent, verdict: Verdict) -> None:
    assert meaning(status, "", sent) is verdict


def test_jfrog_names_an_invalid_upload_where_it_wants_patch_first() -> None:
    assert meaning(400, "BLOB_UPLOAD_INVALID", SMALL) is Verdict.USE_PATCH


@pytest.mark.parametrize("code", ["NAME_INVALID", "NAME_UNKNOWN", "DENIED", "UNAUTHORIZED"])
@pytest.mark.parametrize("sent", [PATCH, LARGE_PATCH, CHUNK, RESUMED, STREAMED_PUT, COMMIT])
def test_what_another_session_meets_too_is_final(code: str, sent: Sent) -> None:
    found = {status: meaning(status, code, sent) for status in (400, 403, 404, 405, 413, 416, 501)}
    assert set(found.values()) == {Verdict.FINAL}


@pytest.mark.parametrize("sent", [COMMIT, RESUMED_COMMIT, EMPTY, SMALL_COMMIT])
def test_a_commit_at_an_address_that_is_not_the_newest_starts_anew(sent: Sent) -> None:
    assert meaning(400, "BLOB_UPLOAD_INVALID", sent) is Verdict.NEW_SESSION
    assert meaning(400, "", sent) is Verdict.FINAL


@pytest.mark.parametrize(
    ("status", "sent", "verdict"),
    [
        # The session may not have seen yet that the connection is gone (ECR, GAR).
        (416, CHUNK, Verdict.ASK_STATUS),
        (416, RESUMED, Verdict.ASK_STATUS),
        (416, LATER, Verdict.ASK_STATUS),
        # Nothing to go on with.
        (416, PATCH, Verdict.NEW_SESSION),
        (416, STREAMED_PUT, Verdict.NEW_SESSION),
        (416, COMMIT, Verdict.NEW_SESSION),
        # docker/distribution 2.8 drops a session whose PATCH broke.
        (404, CHUNK, Verdict.NEW_SESSION),
        (404, RESUMED, Verdict.NEW_SESSION),
        (404, PATCH, Verdict.NEW_SESSION),
        (404, STREAMED_PUT, Verdict.NEW_SESSION),
        (404, COMMIT, Verdict.NEW_SESSION),
        (404, SMALL, Verdict.NEW_SESSION),
    ],
)
def test_a_session_that_is_lost_or_does_not_go_on(status: int, sent: Sent, verdict: Verdict) -> None:
    assert meaning(status, "BLOB_UPLOAD_UNKNOWN", sent) is verdict


@pytest.mark.parametrize("status", [400, 405, 501])
@pytest.mark.parametrize(
    ("sent", "dialect", "verdict"),
    [
        # GAR: where an upload was resumed, it is refused.
        (RESUMED, SPECIFICATION, Verdict.NO_RESUME),
        (RESUMED, PUT_ONLY, Verdict.NO_RESUME),
        # An upload in chunks is another matter than one that was resumed.
        (CHUNK, SPECIFICATION, Verdict.NEW_SESSION),
        (LATER, SPECIFICATION, Verdict.NEW_SESSION),
        # A registry without PATCH.
        (PATCH, SPECIFICATION, Verdict.USE_PUT),
        (LARGE_PATCH, SPECIFICATION, Verdict.USE_PUT),
        # One that takes bytes in no PUT either.
        (PATCH, PATCH_FIRST, Verdict.FINAL),
        (SMALL_PATCH, PATCH_FIRST, Verdict.FINAL),
        # Known already, from another upload that was under way.
        (PATCH, PUT_ONLY, Verdict.FINAL),
        (STREAMED_PUT, PUT_ONLY, Verdict.FINAL),
    ],
)
def test_a_patch_that_is_refused(status: int, sent: Sent, dialect: UploadDialect, verdict: Verdict) -> None:
    assert meaning(status, "UNSUPPORTED", sent, dialect) is verdict


@pytest.mark.parametrize(
    ("sent", "dialect", "verdict"),
    [
        (LARGE_PATCH, SPECIFICATION, Verdict.SMALLER_CHUNKS),
        (Sent(offset=1, length=CHUNK_SIZE + 1), SPECIFICATION, Verdict.SMALLER_CHUNKS),
        (Sent(length=CHUNK_SIZE), SPECIFICATION, Verdict.FINAL),
        # Smaller than the registry itself wants its chunks they cannot be.
        (LARGE_PATCH, UploadDialect(least_chunk=CHUNK_SIZE + 1), Verdict.FINAL),
        (STREAMED_PUT, SPECIFICATION, Verdict.FINAL),
        (COMMIT, SPECIFICATION, Verdict.FINAL),
    ],
)
def test_a_request_that_is_too_large_goes_in_chunks(sent: Sent, dialect: UploadDialect, verdict: Verdict) -> None:
    assert meaning(413, "", sent, dialect) is verdict


@pytest.mark.parametrize("sent", [PATCH, CHUNK, RESUMED, STREAMED_PUT, COMMIT, SMALL])
def test_any_other_refusal_is_final(sent: Sent) -> None:
    found = {status: meaning(status, "", sent) for status in (200, 203, 301, 402, 403, 409, 412, 422, 451)}
    assert set(found.values()) == {Verdict.FINAL}


def test_to_classify_changes_nothing() -> None:
    dialect = UploadDialect(least_chunk=7)
    for habit in HABITS:
        for status in habit.statuses or {400}:
            for sent in (PATCH, LARGE_PATCH, CHUNK, RESUMED, STREAMED_PUT, COMMIT, SMALL, SMALL_AGAIN):
                classify(status, habit.codes or (), sent, dialect)
    assert dialect == UploadDialect(least_chunk=7)


@pytest.mark.parametrize(
    ("verdict", "kept"),
    [
        (Verdict.USE_PUT, {"patch": False}),
        (Verdict.USE_PATCH, {"bytes_with_put": False}),
        (Verdict.NO_RESUME, {"resumes": False}),
        (Verdict.SMALLER_CHUNKS, {"most_chunk": CHUNK_SIZE}),
        *((verdict, {}) for verdict in (Verdict.FINAL, Verdict.RETRY, Verdict.FOLLOW, Verdict.RENEW_TOKEN)),
        *((verdict, {}) for verdict in (Verdict.ASK_STATUS, Verdict.NEW_SESSION)),
    ],
)
def test_what_a_dialect_keeps_of_a_verdict(verdict: Verdict, kept: dict[str, object]) -> None:
    dialect = UploadDialect()
    dialect.adopt(verdict)
    assert dataclasses.asdict(dialect) == dataclasses.asdict(UploadDialect()) | kept


def test_chunks_are_never_smaller_than_the_registry_wants_them() -> None:
    dialect = UploadDialect(least_chunk=2 * CHUNK_SIZE)
    dialect.adopt(Verdict.SMALLER_CHUNKS)
    assert dialect.most_chunk == 2 * CHUNK_SIZE


@pytest.mark.parametrize(
    ("dialect", "size"),
    [
        (UploadDialect(), 0),
        (UploadDialect(least_chunk=5 * MIB), 0),
        (UploadDialect(most_chunk=5 * MIB), 5 * MIB),
        (UploadDialect(least_chunk=7 * MIB, most_chunk=5 * MIB), 7 * MIB),
        (UploadDialect(most_chunk=1), LEAST_CHUNK),
        (UploadDialect(patch=False, most_chunk=5 * MIB), 0),
    ],
)
def test_how_many_bytes_one_patch_brings(dialect: UploadDialect, size: int) -> None:
    assert dialect.chunk_size == size


@pytest.mark.parametrize(
    ("value", "kept"), [("1048576", MIB), ("0", 0), ("", 5), ("-1", 5), ("1e6", 5), ("9" * 19, 5), ("\u0663", 5)]
)
def test_chunk_bounds_are_kept_if_they_are_numbers(value: str, kept: int) -> None:
    dialect = UploadDialect(least_chunk=5, most_chunk=5)
    dialect.read_chunk_bounds({"oci-chunk-min-length": value, "oci-chunk-max-length": value})
    assert (dialect.least_chunk, dialect.most_chunk) == (kept, kept)
    dialect.read_chunk_bounds({})
    assert (dialect.least_chunk, dialect.most_chunk) == (kept, kept)
