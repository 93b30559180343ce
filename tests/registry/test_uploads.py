"""How blobs enter a repository."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from imageferry.registry import Repository, upload_session
from imageferry.registry.errors import Forbidden, InvalidResponse, NotFound, RegistryError, RequestRejected
from imageferry.registry.upload_session import session_location
from imageferry.registry.uploads import Upload
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.auth import Bearer
from testkit.registries.certificates import Authority
from testkit.registries.fault_rules import Action, Fault
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.quirks import Quirks
from testkit.registries.storage import Storage
from tests.registry.opening import access, opened

BLOB = b"a layer" * 1000
DIGEST = sha256(BLOB)


Way = Callable[[Repository], Awaitable[None]]


class Body(httpx.AsyncByteStream):
    """A body that can be sent only once."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield BLOB[:3000]
        yield BLOB[3000:]


async def streamed(repository: Repository) -> None:
    """Upload the blob as a stream, as large ones are."""
    upload = await repository.uploads.start(DIGEST)
    await upload.patch(Body(), len(BLOB))
    await upload.commit()


async def whole(repository: Repository) -> None:
    """Upload the blob in one request, as small ones are."""
    await (await repository.uploads.start(DIGEST)).put(BLOB)


@pytest.mark.parametrize("upload", [whole, streamed])
@pytest.mark.parametrize(
    "quirks",
    [
        Quirks(),
        Quirks(location="relative"),
        Quirks(location="relative", state=False),
        Quirks(state=False),
        Quirks(patch_status=201),
        Quirks(patch_status=204),
        Quirks(stale_range=True),
        Quirks(refuse_chunks=416),
        Quirks(patch_before_put=True),
        Quirks(least_chunk=1024 * 1024),
    ],
)
async def test_an_upload(quirks: Quirks, upload: Way) -> None:
    with FakeRegistry(quirks) as registry:
        async with opened(registry.host, writable=True) as repository:
            await upload(repository)
        assert registry.blob("a/app", DIGEST) == BLOB
        assert not registry.storage.uploads


@pytest.mark.parametrize(("state", "length"), [(False, str(len(BLOB))), (True, None)])
async def test_a_large_blob_takes_three_requests_and_a_small_one_two(
    fake_destination: FakeRegistry, state: bool, length: str | None
) -> None:
    fake_destination.quirks.state = state
    async with opened(fake_destination.host, writable=True) as repository:
        await whole(repository)
        await streamed(repository)
    kinds = [entry.kind for entry in fake_destination.log if entry.kind != "ping"]
    assert kinds == ["upload-start", "upload-put", "upload-start", "upload-patch", "upload-put"]
    (patch,) = fake_destination.log.entries("upload-patch")
    # Without its length where the registry is docker/distribution, which drops no session that breaks off.
    assert patch.headers.get("content-length") == length
    assert patch.headers.get("transfer-encoding") == (None if length else "chunked")
    assert "content-range" not in patch.headers


async def test_an_empty_blob_is_a_put_without_a_body(fake_destination: FakeRegistry) -> None:
    digest = sha256(b"")
    async with opened(fake_destination.host, writable=True) as repository:
        await (await repository.uploads.start(digest)).put(b"")
    assert fake_destination.blob("a/app", digest) == b""
    assert fake_destination.log.entries("upload-put")[0].headers["content-length"] == "0"


@pytest.mark.parametrize("upload", [whole, streamed])
async def test_an_upload_at_another_host(upload: Way) -> None:
    storage = Storage()
    with (
        FakeRegistry(storage=storage) as registry,
        FakeRegistry(Quirks(refuse_authorization=True), storage=storage) as uploads,
    ):
        registry.quirks.location, registry.quirks.location_base = "other-host", uploads.url
        async with opened(registry.host, writable=True) as repository:
            await upload(repository)
        assert registry.blob("a/app", DIGEST) == BLOB
        assert (registry.count("upload-put"), uploads.count("upload-put")) == (0, 1)


async def test_the_query_of_a_location_is_kept(fake_destination: FakeRegistry) -> None:
    query = "_state=a%2Bb%2F%3D%3D&x=%26&empty=&n=1%2C2"
    location = f"/v2/a/app/blobs/uploads/1234?{query}"
    fake_destination.rules.append(Fault("upload-start", actions.respond(202, b"", {"Location": location})))
    fake_destination.rules.append(Fault("upload-put", actions.respond(201)))
    async with opened(fake_destination.host, writable=True) as repository:
        await whole(repository)
    (put,) = fake_destination.log.entries("upload-put")
    assert put.query == {"_state": ["a+b/=="], "x": ["&"], "empty": [""], "n": ["1,2"], "digest": [DIGEST]}


@pytest.mark.parametrize(
    ("asked", "location", "expected"),
    [
        # Port 443 is left out by some; then the address is still the registry's own, with its credentials.
        ("https://registry.example:443/v2/a/", "https://registry.example/v2/x", "https://registry.example/v2/x"),
        ("https://registry.example/v2/a/", "https://registry.example:443/v2/x", "https://registry.example/v2/x"),
        ("https://registry.example:443/v2/a/", "/v2/x?_state=a%2Bb", "https://registry.example/v2/x?_state=a%2Bb"),
        # Behind a proxy that speaks TLS for it a registry takes itself for plain.
        ("https://registry.example/v2/a/", "http://registry.example/v2/x", "https://registry.example/v2/x"),
        ("https://registry.example:5000/v2/", "http://registry.example:5000/x", "https://registry.example:5000/x"),
        ("https://registry.example/v2/a/", "http://other.example/v2/x", "http://other.example/v2/x"),
        ("http://registry.example/v2/a/", "http://registry.example/v2/x", "http://registry.example/v2/x"),
        ("http://registry.example/v2/a/", "https://registry.example/v2/x", "https://registry.example/v2/x"),
        # Behind a proxy that passes on the host without its port.
        ("http://registry.example:5000/v2/", "http://registry.example/x?a=%2F", "http://registry.example:5000/x?a=%2F"),
        ("https://registry.example:8443/v2/", "https://registry.example/x", "https://registry.example:8443/x"),
        ("http://registry.example:5000/v2/", "http://registry.example:5001/x", "http://registry.example:5001/x"),
        ("http://registry.example:5000/v2/", "https://registry.example/x", "https://registry.example/x"),
        ("http://registry.example:5000/v2/", "http://other.example/x", "http://other.example/x"),
    ],
)
def test_where_a_location_leads(asked: str, location: str, expected: str) -> None:
    answer = httpx.Response(202, headers={"location": location}, request=httpx.Request("POST", asked))
    assert session_location(answer, "upload") == httpx.URL(expected)


@pytest.mark.parametrize(
    ("told", "offset"),
    [
        ("0-99", 100),
        ("bytes=0-99", 100),
        ("bytes 0-99", 100),
        ("0-2999", 3000),
        # Nothing, more than was sent, or no range at all: a new session.
        ("0-0", None),
        ("0-3000", None),
        ("0-99999999999999999999999999", None),
        ("1-99", None),
        ("0--1", None),
        ("99", None),
        ("0-\u0669", None),
        ("", None),
    ],
)
async def test_where_a_session_stands(fake_destination: FakeRegistry, told: str, offset: int | None) -> None:
    fake_destination.rules.append(Fault("upload-status", actions.with_header("Range", told.encode().decode("latin-1"))))
    async with opened(fake_destination.host, writable=True) as repository:
        upload = await repository.uploads.start(DIGEST)
        await upload.resume(3000, len(BLOB))
        assert upload.offset == (offset or 0)
        assert fake_destination.count("upload-start") == (1 if offset else 2)
        await upload.cancel()
    assert not fake_destination.storage.uploads


async def test_a_session_goes_on_from_its_offset(fake_destination: FakeRegistry) -> None:
    async with opened(fake_destination.host, writable=True) as repository:
        upload = await repository.uploads.start(DIGEST)
        await upload.send(BLOB[:3000], 3000, len(BLOB))
        upload.took(3000)
        await upload.resume(3000, len(BLOB))
        await upload.send(BLOB[3000:], len(BLOB) - 3000, len(BLOB))
        await upload.commit()
    assert fake_destination.blob("a/app", DIGEST) == BLOB
    assert [entry.headers["content-range"] for entry in fake_destination.log.entries("upload-patch")] == [
        "0-2999",
        "3000-6999",
    ]


@pytest.mark.parametrize("status", [404, 416, 500])
async def test_a_commit_that_is_refused_though_it_was_done(fake_destination: FakeRegistry, status: int) -> None:
    async with opened(fake_destination.host, writable=True) as repository:
        upload = await repository.uploads.start(DIGEST)
        await upload.patch(Body(), len(BLOB))
        fake_destination.add_blob("a/app", BLOB)
        fake_destination.rules.append(Fault("upload-put", actions.refuse(status, "BLOB_UPLOAD_UNKNOWN")))
        await upload.commit()
        assert upload.committed
    assert fake_destination.count("blob-head") == 1


async def test_a_registry_that_does_not_answer_a_cancel_is_left(
    fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_session, "CANCEL_LIMIT", 0.2)
    fake_destination.rules.append(Fault("upload-cancel", actions.delay(600)))
    async with opened(fake_destination.host, writable=True) as repository, asyncio.timeout(30):
        await (await repository.uploads.start(DIGEST)).cancel()
    assert fake_destination.count("upload-cancel") == 1


@pytest.mark.parametrize("location", ["", "http://host:port/x", "//"])
async def test_a_session_without_an_address_is_told(fake_destination: FakeRegistry, location: str) -> None:
    fake_destination.rules.append(Fault("upload-start", actions.respond(202, b"", {"Location": location})))
    async with opened(fake_destination.host, writable=True) as repository:
        with pytest.raises(RegistryError):
            await whole(repository)


@pytest.mark.parametrize("status", [200, 204])
async def test_a_start_that_is_none_is_told(fake_destination: FakeRegistry, status: int) -> None:
    fake_destination.rules.append(Fault("upload-start", actions.respond(status)))
    async with opened(fake_destination.host, writable=True) as repository:
        with pytest.raises(InvalidResponse, match=f"answered {status}, expected 202"):
            await whole(repository)


async def test_a_mount_spares_the_upload(fake_destination: FakeRegistry) -> None:
    digest = fake_destination.add_blob("b/app", BLOB)
    async with opened(fake_destination.host, writable=True) as repository:
        assert await repository.uploads.mount(digest, "b/app") is None
    assert fake_destination.blob("a/app", digest) == BLOB
    assert fake_destination.counts() == {"ping": 1, "mount": 1}


@pytest.mark.parametrize(("status", "starts"), [(202, 0), (401, 1), (403, 1), (404, 1), (405, 1)])
async def test_a_mount_that_is_refused_leaves_a_session(status: int, starts: int) -> None:
    with FakeRegistry(Quirks(mount=status)) as registry:
        digest = registry.add_blob("b/app", BLOB)
        async with opened(registry.host, writable=True) as repository:
            session = await repository.uploads.mount(digest, "b/app")
            assert isinstance(session, Upload)
            await session.put(BLOB)
        assert registry.blob("a/app", digest) == BLOB
        assert (registry.count("mount"), registry.count("upload-start")) == (1, starts)


async def test_a_mount_whose_scope_is_refused_leaves_a_session() -> None:
    def grants(user: str | None, name: str) -> set[str]:
        return {"pull", "push"} if name == "a/app" else set()

    with FakeRegistry(auth=Bearer({"ferry": "secret"}, grants=grants)) as registry:
        digest = registry.add_blob("b/app", BLOB)
        async with opened(registry.host, entry=access("ferry", "secret"), writable=True) as repository:
            session = await repository.uploads.mount(digest, "b/app")
            assert session is not None
            await session.put(BLOB)
        assert registry.blob("a/app", digest) == BLOB


async def test_a_server_that_reads_the_first_scope_only_gets_the_push_scope_first() -> None:
    with FakeRegistry(auth=Bearer({"ferry": "secret"}, first_scope_only=True)) as registry:
        digest = registry.add_blob("b/app", BLOB)
        async with opened(registry.host, entry=access("ferry", "secret"), writable=True) as repository:
            session = await repository.uploads.mount(digest, "b/app")
            assert session is not None
            await session.put(BLOB)
        asked = [entry.query["scope"][0] for entry in registry.log.entries("token")]
        assert set(asked) == {"repository:a/app:pull,push"}


async def test_a_token_that_ends_before_a_stream_may_heal() -> None:
    bearer = Bearer({"ferry": "secret"})
    with FakeRegistry(auth=bearer) as registry:
        async with opened(registry.host, entry=access("ferry", "secret"), writable=True) as repository:
            upload = await repository.uploads.start(DIGEST)
            bearer.revoke_all()
            with pytest.raises(RegistryError, match="token ended") as told:
                await upload.patch(Body(), len(BLOB))
            assert told.value.transient
            await streamed(repository)
        assert registry.blob("a/app", DIGEST) == BLOB


@pytest.mark.parametrize("status", [204, 401, 404, 405, 500])
async def test_cancelling_may_be_refused(status: int) -> None:
    with FakeRegistry(Quirks(cancel_status=status)) as registry:
        async with opened(registry.host, writable=True) as repository:
            await (await repository.uploads.start(DIGEST)).cancel()
        assert registry.count("upload-cancel") == 1


async def test_a_quota_is_told_as_the_registry_says_it(pauses: list[float]) -> None:
    with FakeRegistry(Quirks(quota=10)) as registry:
        async with opened(registry.host, writable=True) as repository:
            with pytest.raises(Forbidden, match="exceed the configured quota of 10") as told:
                await whole(repository)
        assert not told.value.transient
        assert pauses == []


async def test_a_repository_that_is_not_made_on_push_is_told() -> None:
    with FakeRegistry(Quirks(create_on_push=False)) as registry:
        async with opened(registry.host, writable=True) as repository:
            with pytest.raises(NotFound, match="NAME_UNKNOWN"):
                await whole(repository)


async def test_other_bytes_than_the_digests_are_not_committed(fake_destination: FakeRegistry) -> None:
    async with opened(fake_destination.host, writable=True) as repository:
        upload = await repository.uploads.start(DIGEST)
        with pytest.raises(RequestRejected, match="DIGEST_INVALID"):
            await upload.put(BLOB + b"more")
    assert fake_destination.blob("a/app", DIGEST) is None


async def test_a_commit_whose_answer_is_lost_is_known_to_be_done(fake_destination: FakeRegistry) -> None:
    fake_destination.rules.append(Fault("upload-put", actions.hang_up(done=True), times=1))
    async with opened(fake_destination.host, writable=True) as repository:
        await whole(repository)
    assert fake_destination.blob("a/app", DIGEST) == BLOB


async def test_connections_may_close_between_two_requests(fake_destination: FakeRegistry) -> None:
    async with opened(fake_destination.host, writable=True) as repository:
        upload = await repository.uploads.start(DIGEST)
        fake_destination.drop_connections()
        await upload.put(BLOB)
        fake_destination.drop_connections()
        assert await repository.blobs.size(DIGEST) == len(BLOB)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority for certificates."""
    return Authority(tmp_path)


async def test_over_tls(authority: Authority) -> None:
    with FakeRegistry(tls=authority.server().server_context()) as registry:
        entry = access(insecure=False, ca_file=authority.ca_file)
        async with opened(registry.host, entry=entry, writable=True) as repository:
            await whole(repository)
            await streamed(repository)
        assert registry.blob("a/app", DIGEST) == BLOB


@pytest.mark.parametrize(
    "action",
    [
        *(actions.refuse(status, "UNKNOWN") for status in (400, 405, 500, 501, 502, 503)),
        actions.too_many(600, status=503),
        actions.hang_up(),
        actions.hang_up("reset"),
        actions.respond(200),
        actions.respond(202),
        actions.html(),
        actions.respond(302, b"", {"Location": "http://127.0.0.2:1/elsewhere"}),
    ],
)
async def test_a_mount_that_fails_in_any_way_is_an_upload_and_counts_for_nothing_else(
    fake_destination: FakeRegistry, waited: list[float], action: Action
) -> None:
    fake_destination.rules.append(Fault("mount", action))
    blobs = [b"blob %d" % number for number in range(20)]
    async with opened(fake_destination.host, writable=True) as repository:
        for blob in blobs:
            session = await repository.uploads.mount(sha256(blob), "b/app")
            assert isinstance(session, Upload)
            await session.put(blob)
    assert all(fake_destination.blob("a/app", sha256(blob)) == blob for blob in blobs)
    # A registry whose mounts never work is not asked for one for each blob.
    assert fake_destination.count("mount") <= 3 * 2 * 2
    assert waited == []


async def test_mounts_that_may_be_refused_for_one_repository_alone_are_asked_for_again() -> None:
    with FakeRegistry(Quirks(mount=403)) as registry:
        async with opened(registry.host, writable=True) as repository:
            for number in range(10):
                await repository.uploads.mount(sha256(b"%d" % number), "b/app")
        assert registry.count("mount") == 10


async def test_a_mount_that_failed_once_is_tried_again(fake_destination: FakeRegistry) -> None:
    digest = fake_destination.add_blob("b/app", BLOB)
    fake_destination.rules.append(Fault("mount", actions.respond(500), times=1))
    async with opened(fake_destination.host, writable=True) as repository:
        assert await repository.uploads.mount(digest, "b/app") is None


@pytest.mark.parametrize(("status", "code"), [(416, "RANGE_INVALID"), (400, "BLOB_UPLOAD_INVALID")])
async def test_a_small_blob_whose_sessions_are_lost_again_and_again_may_heal(
    fake_destination: FakeRegistry, status: int, code: str
) -> None:
    lost = Fault("upload-put", actions.refuse(404, "BLOB_UPLOAD_UNKNOWN"), times=2)
    fake_destination.rules += [lost, Fault("upload-put", actions.refuse(status, code), skip=2, times=1)]
    async with opened(fake_destination.host, writable=True) as repository:
        with pytest.raises(RegistryError, match=str(status)) as told:
            await whole(repository)
        assert told.value.transient
        await whole(repository)
    assert fake_destination.blob("a/app", DIGEST) == BLOB
