"""Blobs of one repository: looked up and read."""

import re

import pytest

from imageferry.registry.errors import Forbidden, InvalidResponse, NotFound, Unreachable
from testkit.registries import actions
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.quirks import Quirks
from tests.registry.opening import opened

BLOB = bytes(range(256)) * 100


async def test_a_blob_is_looked_up_with_one_head(fake_source: FakeRegistry) -> None:
    digest = fake_source.add_blob("a/app", BLOB)
    async with opened(fake_source.host) as repository:
        assert await repository.blobs.size(digest) == len(BLOB)
        assert not await repository.blobs.exists("sha256:" + "0" * 64)
    assert fake_source.counts() == {"ping": 1, "blob-head": 2}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
async def test_a_look_that_is_refused_means_no(status: int) -> None:
    with FakeRegistry(Quirks(blob_head=status)) as registry:
        digest = registry.add_blob("a/app", BLOB)
        async with opened(registry.host) as repository:
            assert not await repository.blobs.exists(digest)
        assert registry.count("blob-head") <= 2


@pytest.mark.parametrize(("ranges", "status", "start"), [(True, 206, 1000), (False, 200, 0)])
async def test_a_blob_is_read_from_an_offset(ranges: bool, status: int, start: int) -> None:
    with FakeRegistry(Quirks(ranges=ranges)) as registry:
        digest = registry.add_blob("a/app", BLOB)
        async with opened(registry.host) as repository, repository.blobs.open(digest, 1000) as answer:
            assert answer.status_code == status
            assert b"".join([piece async for piece in answer.aiter_raw()]) == BLOB[start:]


async def test_a_small_blob_is_read_with_a_bound(fake_source: FakeRegistry) -> None:
    digest = fake_source.add_blob("a/app", BLOB)
    async with opened(fake_source.host) as repository:
        assert await repository.blobs.read(digest, len(BLOB)) == BLOB
        with pytest.raises(InvalidResponse, match="more than 25,599 bytes"):
            await repository.blobs.read(digest, len(BLOB) - 1)


async def test_a_blob_that_is_not_there(fake_source: FakeRegistry) -> None:
    async with opened(fake_source.host) as repository:
        with pytest.raises(NotFound, match=r"000000000000 of .*a/app"):
            async with repository.blobs.open("sha256:" + "0" * 64):
                pass


async def test_redirects_end(fake_source: FakeRegistry) -> None:
    digest = fake_source.add_blob("a/app", BLOB)
    fake_source.rules.append(Fault("blob-get", actions.redirect(fake_source.url)))
    async with opened(fake_source.host) as repository:
        with pytest.raises(InvalidResponse, match="redirects without end"):
            await repository.blobs.read(digest, len(BLOB))
    assert fake_source.count("blob-get") < 10


async def test_the_host_that_does_not_answer_is_named(fake_source: FakeRegistry) -> None:
    with FakeRegistry() as store:
        digest = fake_source.add_blob("a/app", BLOB)
        fake_source.rules.append(Fault("blob-get", actions.redirect(store.url)))
        store.stop()
        async with opened(fake_source.host) as repository:
            with pytest.raises(Unreachable, match=f"no answer from {re.escape(store.host)}: the connection is refused"):
                await repository.blobs.read(digest, len(BLOB))


async def test_a_refusal_that_breaks_off_is_told_in_words(fake_source: FakeRegistry) -> None:
    digest = fake_source.add_blob("a/app", BLOB)
    fake_source.rules.append(Fault("blob-get", actions.truncate(10)))
    fake_source.rules.append(Fault("blob-get", actions.refuse(403, "DENIED")))
    async with opened(fake_source.host) as repository:
        with pytest.raises(Unreachable, match="the answer ended too early"):
            async with repository.blobs.open(digest):
                pass


@pytest.mark.parametrize("status", [None, 400, 403, 404, 405, 500])
async def test_a_blob_is_measured_with_get_where_head_is_refused(status: int | None) -> None:
    with FakeRegistry(Quirks(blob_head=status)) as registry:
        digest = registry.add_blob("a/app", BLOB)
        async with opened(registry.host) as repository:
            assert await repository.blobs.measure(digest) == len(BLOB)
            assert await repository.blobs.measure("sha256:" + "0" * 64) is None
        assert registry.count("blob-get") == (1 if status is None else 2)


async def test_a_blob_whose_get_is_refused_is_not_taken_for_missing(fake_source: FakeRegistry) -> None:
    digest = fake_source.add_blob("a/app", BLOB)
    fake_source.rules.append(Fault("blob-get", actions.refuse(403, "DENIED", "not yours")))
    fake_source.rules.append(Fault("blob-head", actions.respond(403)))
    async with opened(fake_source.host) as repository:
        with pytest.raises(Forbidden, match="not yours"):
            await repository.blobs.measure(digest)
