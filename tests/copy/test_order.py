"""Blobs, then child manifests, then the index, the tag last; and what is not kept in memory."""

import tracemalloc

from testkit.images.documents import image_manifest, sha256
from testkit.images.push import push_document, request
from testkit.images.raw import push_nested_index
from testkit.registries import actions
from testkit.registries.distribution import DistributionRegistry
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.log import Entry
from tests.copy.running import configured, errors, run


async def test_no_tag_names_what_is_not_there(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    # The registry refuses a manifest whose blobs or children it does not have.
    assert fake_destination.quirks.check_references
    push_nested_index(fake_source.host, "a/app", "v1")
    images = {f"{fake_source.host}/a/app": f"{fake_destination.host}/a/app"}
    assert errors(await run(configured(images, fake_source, fake_destination))) == {}
    puts = fake_destination.log.entries("manifest-put")
    assert [entry.status for entry in puts] == [201] * 4
    assert [entry.path.rpartition("/")[2] for entry in puts][-1] == "v1"
    assert all("sha256:" in entry.path for entry in puts[:-1])
    last_blob = max(_ended(entry) for entry in fake_destination.log.entries("upload-put"))
    assert last_blob <= puts[-1].started


async def test_an_image_is_put_after_its_last_blob(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    fake_source.image("a/app", "v1", [bytes([number]) for number in range(8)])
    fake_destination.rules.append(Fault("upload-put", actions.delay(0.1)))
    images = {f"{fake_source.host}/a/app:v1": f"{fake_destination.host}/a/app"}
    assert errors(await run(configured(images, fake_source, fake_destination))) == {}
    (put,) = fake_destination.log.entries("manifest-put")
    assert all(_ended(entry) <= put.started for entry in fake_destination.log.entries("upload-put"))
    assert fake_destination.log[-1].kind == "manifest-put"


async def test_a_child_that_fails_leaves_no_index(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    children = [fake_source.image("a/app", None, [bytes([number])]) for number in range(3)]
    fake_source.index("a/app", "v1", children)
    lost = sha256(bytes([1]))
    fake_source.storage.repository("a/app").blobs.discard(lost)
    images = {f"{fake_source.host}/a/app:v1": f"{fake_destination.host}/a/app"}
    report = await run(configured(images, fake_source, fake_destination))
    assert lost[7:19] in errors(report)[f"{fake_destination.host}/a/app:v1"]
    assert fake_destination.tags("a/app") == []
    assert children[1] not in fake_destination.storage.repository("a/app").manifests


async def test_a_large_blob_streams(
    source_registry: DistributionRegistry, destination_registry: DistributionRegistry, repository: str
) -> None:
    layer = bytes(64 * 1024 * 1024)
    document = image_manifest([layer])
    push_document(source_registry.host, repository, "v1", document)
    targets = [f"{destination_registry.host}/{repository}", f"{destination_registry.host}/{repository}/two"]
    text = configured({f"{source_registry.host}/{repository}:v1": targets}, source_registry, destination_registry)
    tracemalloc.start()
    try:
        report = await run(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert errors(report) == {}
    assert peak < 16 * 1024 * 1024
    for name in (repository, f"{repository}/two"):
        held = request("HEAD", destination_registry.host, f"/v2/{name}/blobs/{sha256(layer)}")
        assert (held.status, held.headers["content-length"]) == (200, str(len(layer)))


async def test_a_source_waits_for_a_destination_that_is_slow(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    layer = bytes(48 * 1024 * 1024)
    fake_source.image("a/app", "v1", [layer])
    seen: list[int] = []

    def look() -> None:
        seen.append(sum(entry.bytes_out for entry in fake_source.log.entries("blob-get")))

    fake_destination.rules.append(Fault("upload-patch", actions.run_first(look)))
    fake_destination.rules.insert(0, Fault("upload-patch", actions.delay(1.0)))
    images = {f"{fake_source.host}/a/app:v1": f"{fake_destination.host}/a/app"}
    assert errors(await run(configured(images, fake_source, fake_destination))) == {}
    # After a second of which the destination took nothing, most of the blob is still at the source.
    assert len(seen) == 1
    assert seen[0] < len(layer) // 2


def _ended(entry: Entry) -> float:
    assert entry.ended is not None
    return entry.ended
