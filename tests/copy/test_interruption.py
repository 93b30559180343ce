"""Copies that are cancelled on their way, as by Ctrl-C."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from imageferry.config import load_text
from imageferry.copy.blob_move import BlobMove
from imageferry.copy.engine import Engine
from imageferry.copy.job import CopyJob
from imageferry.copy.options import Options
from imageferry.registry import upload
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.distribution import Distribution3, DistributionRegistry
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured

LARGE = bytes(range(256)) * 16384


@asynccontextmanager
async def planned(source: FakeRegistry, destination: FakeRegistry) -> AsyncIterator[tuple[Engine, list[CopyJob]]]:
    """Open an engine, and plan all tags of a/app."""
    text = configured({f"{source.host}/a/app": f"{destination.host}/a/app"}, source, destination)
    configuration = load_text(text, "config.json", environment={})
    async with Engine(configuration, Options(), mover=BlobMove.run, environment={}) as engine:
        yield engine, await engine.plan(configuration.rules[0])


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_copy_that_is_cancelled_leaves_no_session(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("a/app", "v1", [LARGE])
    fake_source.rules.append(Fault(Match("blob-get", path=sha256(LARGE)), actions.stall_after(len(LARGE) // 2)))
    async with planned(fake_source, fake_destination) as (engine, (job,)):
        copying = asyncio.create_task(engine.copy(job))
        await until(lambda: any(entry.bytes_in for entry in fake_destination.log.entries("upload-patch")))
        # The small config is there: the large layer's session is the only one left.
        await until(lambda: fake_destination.count("upload-put") == 1)
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
    assert fake_destination.tags("a/app") == []
    assert fake_destination.blob("a/app", sha256(LARGE)) is None
    assert not fake_destination.storage.uploads
    assert fake_destination.count("upload-cancel") == 1


async def test_a_copy_that_waited_for_a_cancelled_one_goes_on(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    # The registry takes a manifest whether or not its blobs are there.
    fake_destination.quirks.check_references = False
    for tag in ("v1", "v2"):
        fake_source.image("a/app", tag, [LARGE, tag.encode()])
    stall = Fault(Match("blob-get", path=sha256(LARGE)), actions.stall_after(len(LARGE) // 2), times=1)
    fake_source.rules.append(stall)
    async with planned(fake_source, fake_destination) as (engine, (first, second)):
        copying = asyncio.create_task(engine.copy(first))
        await until(lambda: stall.hits == 1)
        waiting = asyncio.create_task(engine.copy(second))
        await until(lambda: fake_destination.count("upload-put") == 4)
        copying.cancel()
        await asyncio.gather(copying, return_exceptions=True)
        await waiting
    assert fake_destination.tags("a/app") == ["v2"]
    assert fake_destination.blob("a/app", sha256(LARGE)) == LARGE


@pytest.mark.parametrize("kind", [DistributionRegistry, Distribution3])
async def test_a_copy_that_is_cancelled_leaves_no_session_at_a_real_registry(
    fake_source: FakeRegistry, tmp_path: Path, kind: type[DistributionRegistry]
) -> None:
    layers = [bytes([number]) + LARGE for number in range(3)]
    fake_source.image("a/app", "v1", [*layers])
    fake_source.rules += [
        Fault(Match("blob-get", path=sha256(layer)), actions.stall_after(len(layer) // 2)) for layer in layers[:2]
    ]
    uploads = tmp_path / "storage/docker/registry/v2/repositories/b/app/_uploads"
    with kind(tmp_path) as destination:
        text = configured({f"{fake_source.host}/a/app": f"{destination.host}/b/app"}, fake_source, destination)
        configuration = load_text(text, "config.json", environment={})
        async with Engine(configuration, Options(), mover=BlobMove.run, environment={}) as engine:
            (job,) = await engine.plan(configuration.rules[0])
            copying = asyncio.create_task(engine.copy(job))
            # Two are in mid-blob, with bytes on the disk.
            await until(lambda: sum(data.stat().st_size > 0 for data in uploads.glob("*/data")) >= 2)
            await until(lambda: len(list(uploads.glob("*"))) == 2)
            copying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await copying
        cancelled = [each.status for each in destination.requests() if each.kind == "upload-cancel"]
        assert cancelled.count(204) == 2
        # All that the registry leaves of a session that it has deleted is the state of a hash, of some bytes.
        left = [path for path in uploads.rglob("*") if path.is_file()]
        assert {path.parent.name for path in left} <= {"sha256"}
        assert sum(path.stat().st_size for path in left) < 1000


async def test_a_small_upload_that_is_under_way_is_let_end(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("a/app", "v1", [b"small"])
    slow = Fault("upload-put", actions.delay(0.2))
    fake_destination.rules.append(slow)
    async with planned(fake_source, fake_destination) as (engine, (job,)):
        copying = asyncio.create_task(engine.copy(job))
        await until(lambda: slow.hits == 2)
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
    assert fake_destination.blob("a/app", sha256(b"small")) == b"small"
    assert (fake_destination.count("upload-cancel"), fake_destination.tags("a/app")) == (0, [])
    assert not fake_destination.storage.uploads


async def test_a_small_upload_that_hangs_is_not_waited_for(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "END_LIMIT", 0.1)
    fake_source.image("a/app", "v1", [b"small"])
    hangs = Fault("upload-put", actions.delay(600))
    fake_destination.rules.append(hangs)
    async with planned(fake_source, fake_destination) as (engine, (job,)):
        copying = asyncio.create_task(engine.copy(job))
        await until(lambda: hangs.hits == 2)
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
    assert not fake_destination.storage.uploads
