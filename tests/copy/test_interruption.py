"""Copies that are cancelled on their way, as by Ctrl-C."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from imageferry.config import load_text
from imageferry.copy.blob_move import BlobMove
from imageferry.copy.engine import Engine
from imageferry.copy.job import CopyJob
from imageferry.copy.options import Options
from testkit.images.documents import sha256
from testkit.registries import actions
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
