"""Destinations that take bytes far more slowly than others which are fed with them."""

import asyncio
from collections.abc import Callable

import pytest

from imageferry.copy import transfer, upload_stream
from imageferry.copy.retries import UPLOAD_BREAKS
from imageferry.copy.upload_stream import LEAST_PROGRESS, UploadStream
from imageferry.report.outcomes import Report
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured, errors, run

LARGE = bytes(range(256)) * 4096 * 12
SMALL = b"a small layer"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "HOLD_LIMIT", 0.3)


class Slowness:
    """How long a destination waits before each piece that it takes, until it is over."""

    seconds = 0.3

    def __call__(self) -> float:
        return self.seconds


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def copying(source: FakeRegistry, *destinations: FakeRegistry) -> "asyncio.Task[Report]":
    """Begin to copy all tags of a/app to all destinations."""
    text = configured({f"{source.host}/a/app": [f"{each.host}/a/app" for each in destinations]}, source, *destinations)
    return asyncio.create_task(run(text))


def reads(registry: FakeRegistry, layer: bytes) -> int:
    """Count the readings of a layer."""
    return sum(sha256(layer) in entry.path for entry in registry.log.entries("blob-get"))


@pytest.mark.parametrize(
    ("layer", "kind"), [(LARGE, "upload-patch"), (LARGE[: 2**20], "upload-patch"), (SMALL, "upload-put")]
)
async def test_a_destination_that_drips_holds_no_healthy_one(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, layer: bytes, kind: str
) -> None:
    for tag in ("v1", "v2"):
        fake_source.image("a/app", tag, [layer, tag.encode()])
    slowness = Slowness()
    with FakeRegistry() as slow:
        slow.rules.append(Fault(kind, actions.read_slowly(slowness)))
        task = copying(fake_source, slow, fake_destination)
        if layer is SMALL:
            slowness.seconds = 2.0
        await until(lambda: "v1" in fake_destination.tags("a/app"))
        assert slow.tags("a/app") == []
        slowness.seconds = 0.0
        report = await task
        assert errors(report) == {}
        assert report.totals.copied == 4
        for registry in (slow, fake_destination):
            assert registry.tags("a/app") == ["v1", "v2"]
            assert registry.blob("a/app", sha256(layer)) == layer
            assert not registry.storage.uploads
    # It is fed from the healthy one.
    assert reads(fake_source, layer) == 1


async def test_what_shares_its_layer_is_not_held_either(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    layer = LARGE[: 8 * 2**20]
    fake_source.image("a/app", "v1", [layer])
    fake_source.image("b/app", "v1", [layer])
    slowness = Slowness()
    with FakeRegistry() as slow, FakeRegistry() as other:
        slow.rules.append(Fault("upload-patch", actions.read_slowly(slowness)))
        task = copying(fake_source, slow, fake_destination)
        await until(lambda: fake_destination.tags("a/app") == ["v1"])
        assert not task.done()
        text = configured({f"{fake_source.host}/b/app:v1": f"{other.host}/b/app"}, fake_source, other)
        assert errors(await run(text)) == {}
        slowness.seconds = 0.0
        assert errors(await task) == {}


async def test_destinations_that_are_equally_slow_stay_together(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    layer = LARGE[: 8 * 2**20]
    fake_source.image("a/app", "v1", [layer])
    with FakeRegistry() as other:
        for registry in (fake_destination, other):
            registry.rules.append(Fault("upload-patch", actions.read_slowly(lambda: 0.01)))
        assert errors(await copying(fake_source, other, fake_destination)) == {}
        for registry in (fake_destination, other):
            assert (registry.count("upload-patch"), reads(registry, layer)) == (1, 0)
    assert reads(fake_source, layer) == 1


class _Drip:
    """An upload that takes some bytes, and then nothing until it is resumed."""

    action = "upload blob"
    committed = may_end_early = False

    def __init__(self, progress: int) -> None:
        self.offset = 0
        self._progress = progress

    def next_length(self, size: int) -> int:
        return size - self.offset

    async def send(self, *_: object) -> None:
        await asyncio.Event().wait()

    async def resume(self, *_: object) -> None:
        self.offset += self._progress


@pytest.mark.parametrize(("progress", "goes_on"), [(LEAST_PROGRESS - 1, False), (LEAST_PROGRESS + 1, True)])
async def test_a_byte_now_and_then_is_no_progress(
    monkeypatch: pytest.MonkeyPatch, progress: int, goes_on: bool
) -> None:
    monkeypatch.setattr(upload_stream, "STALL_LIMIT", 0.01)
    size = 100 * LEAST_PROGRESS
    stream = UploadStream(_Drip(progress), size, lambda count: None)  # type: ignore[arg-type]
    resumed = 0
    while resumed < 3 * UPLOAD_BREAKS:
        while stream.error is None:
            await stream.write(bytes(LEAST_PROGRESS), stream.next_offset)
        if not await stream.resume():
            break
        resumed += 1
    assert (resumed == 3 * UPLOAD_BREAKS) is goes_on
    await stream._stop()
