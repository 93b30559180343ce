"""Uploads to real registries whose connection is severed: distribution 3 goes on, docker/distribution 2.8 anew."""

from collections.abc import Iterator

import pytest

from imageferry.copy import reader
from imageferry.registry.http import aiohttp_transport
from imageferry.report.outcomes import Report
from testkit.images.documents import image_manifest, sha256
from testkit.images.push import push_document
from testkit.images.raw import random_layer
from testkit.registries.distribution import Distribution3, DistributionRegistry
from testkit.registries.severing import Severing, severing
from tests.copy.judging import assert_same
from tests.copy.running import configured, errors, run

SIZE = 40 * 1024 * 1024
CUT = 20 * 1024 * 1024

# What is sent besides blobs on all connections: requests' heads, small blobs and manifests (bytes).
HEADS = 64 * 1024

# What a severed connection may lose on the way to a registry that is slow to read: the buffers of its sockets (bytes).
IN_BUFFERS = 8 * 1024 * 1024


@pytest.fixture(scope="module")
def third(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution3]:
    """Distribution 3, to write to."""
    with Distribution3(tmp_path_factory.mktemp("third")) as registry:
        yield registry


@pytest.fixture(scope="module")
def layer() -> bytes:
    """A layer that takes a while."""
    layer = random_layer(SIZE)
    assert SIZE <= len(layer) <= SIZE + HEADS // 2
    return layer


async def copied(
    source: DistributionRegistry, repository: str, layer: bytes, severed: Severing, *healthy: DistributionRegistry
) -> Report:
    """Copy an image with the layer through the forwarder, and to the healthy registries."""
    push_document(source.host, repository, "v1", image_manifest([layer]))
    source.clear_log()
    targets = [f"{host}/{repository}" for host in (severed.host, *(each.host for each in healthy))]
    report = await run(configured({f"{source.host}/{repository}:v1": targets}, source, severed, *healthy))
    assert errors(report) == {}
    return report


def read(source: DistributionRegistry, layer: bytes) -> list[int]:
    """Return the bytes of each reading of the layer at the source."""
    return [each.bytes_out for each in source.requests() if each.kind == "blob-get" and sha256(layer) in each.path]


async def test_distribution_3_goes_on_where_it_broke(
    source_registry: DistributionRegistry, third: Distribution3, repository: str, layer: bytes
) -> None:
    third.clear_log()
    async with severing(third.host, CUT) as severed:
        await copied(source_registry, repository, layer, severed)
        assert severed.cuts == []
        assert SIZE <= severed.forwarded <= SIZE + HEADS + IN_BUFFERS
    assert_same(source_registry, repository, third, repository, "v1")
    assert third.counts()["upload-status"] >= 1
    assert third.counts()["upload-start"] == 2
    # One more where the registry, asked before it has seen the break, refused what went on.
    assert 2 <= third.counts()["upload-patch"] <= 3
    first, *again = read(source_registry, layer)
    assert first < SIZE
    # Each from the last state of the hash before the byte that was lacking, at most a buffer before it.
    assert 1 <= len(again) < third.counts()["upload-patch"]
    twice = IN_BUFFERS + reader.CHECKPOINT_SPACING + aiohttp_transport.READ_SIZE
    assert sum(again) <= SIZE - CUT + HEADS + len(again) * twice


async def test_distribution_2_starts_anew(
    source_registry: DistributionRegistry, destination_registry: DistributionRegistry, repository: str, layer: bytes
) -> None:
    destination_registry.clear_log()
    async with severing(destination_registry.host, CUT) as severed:
        await copied(source_registry, repository, layer, severed)
        assert severed.cuts == []
        assert CUT + SIZE - HEADS <= severed.forwarded <= CUT + SIZE + HEADS
    assert_same(source_registry, repository, destination_registry, repository, "v1")
    assert destination_registry.counts()["upload-start"] == 3
    assert len(read(source_registry, layer)) == 2


@pytest.mark.parametrize("broken", ["2.8", "3"])
async def test_with_a_healthy_destination_the_source_is_read_once(
    source_registry: DistributionRegistry,
    destination_registry: DistributionRegistry,
    third: Distribution3,
    repository: str,
    layer: bytes,
    broken: str,
) -> None:
    weak, healthy = (third, destination_registry) if broken == "3" else (destination_registry, third)
    healthy.clear_log()
    async with severing(weak.host, CUT) as severed:
        await copied(source_registry, repository, layer, severed, healthy)
        again = SIZE if broken == "3" else CUT + SIZE
        assert again - HEADS <= severed.forwarded <= again + HEADS
    for destination in (weak, healthy):
        assert_same(source_registry, repository, destination, repository, "v1")
    assert read(source_registry, layer) == [len(layer)]
    # The healthy one takes its bytes once, and gives those that the other lacks.
    counts = healthy.counts()
    assert (counts["upload-start"], counts["upload-patch"], counts["blob-get"]) == (2, 1, 1 + 2)


async def test_a_connection_that_is_severed_again_and_again_is_survived(
    source_registry: DistributionRegistry, third: Distribution3, repository: str, layer: bytes
) -> None:
    third.clear_log()
    async with severing(third.host, *[SIZE // 8] * 7) as severed:
        await copied(source_registry, repository, layer, severed)
        assert severed.cuts == []
        # Where the registry is asked before it has seen the break, it refuses what goes on and is asked again.
        assert SIZE <= severed.forwarded <= SIZE + 7 * 2 * aiohttp_transport.READ_SIZE
    assert third.counts()["upload-start"] == 2
    assert_same(source_registry, repository, third, repository, "v1")
