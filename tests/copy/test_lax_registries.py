"""Registries that know little of images, or that store something else than they are given."""

import json
from typing import Any

import pytest

from testkit.images.documents import DOCKER_SCHEMA1, OCI_INDEX, OCI_MANIFEST, sha256
from testkit.images.schema1 import envelope
from testkit.registries import actions
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.quirks import Quirks
from testkit.registries.storage import Manifest
from tests.copy.running import configured, errors, outcomes, run

PLATFORMS = ("linux/amd64", "linux/arm64")


def one(source: FakeRegistry, destination: FakeRegistry, **more: Any) -> str:
    """Write a configuration that copies a/app:v1."""
    rule = {"from": f"{source.host}/a/app:v1", "to": f"{destination.host}/a/app", **more}
    return configured([rule], source, destination)


def mislabelled_index(registry: FakeRegistry, media_type: str) -> dict[str, str]:
    """Put an index under a/app:v1 whose Content-Type is another one; return its children by platform."""
    children = {each: registry.image("a/app", None, [each.encode()], each) for each in PLATFORMS}
    digest = registry.index("a/app", "v1", children)
    content = json.loads(registry.manifest("a/app", "v1") or b"")
    del content["mediaType"], registry.storage.repository("a/app").manifests[digest]
    registry.add_manifest("a/app", "v1", json.dumps(content).encode(), media_type)
    return children


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_SCHEMA1, "binary/octet-stream", "text/html"])
async def test_the_children_of_an_index_that_is_called_something_else_come_along(media_type: str) -> None:
    with FakeRegistry() as source, FakeRegistry(Quirks(check_references=False)) as destination:
        children = mislabelled_index(source, media_type)
        digest = source.digest("a/app", "v1")
        assert errors(await run(one(source, destination))) == {}
        assert destination.media_type("a/app", "v1") == OCI_INDEX
        assert set(destination.storage.repository("a/app").manifests) == {digest, *children.values()}
        assert all(destination.blob("a/app", sha256(each.encode())) for each in PLATFORMS)


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, "binary/octet-stream"])
@pytest.mark.parametrize("before", ["nothing", "the whole index"])
async def test_an_index_that_is_called_something_else_is_filtered(media_type: str, before: str) -> None:
    # What HEAD says of it decides nothing, at either side.
    with FakeRegistry() as source, FakeRegistry(Quirks(check_references=False)) as destination:
        children = mislabelled_index(source, media_type)
        if before != "nothing":
            assert mislabelled_index(destination, media_type) == children
        text = one(source, destination, platforms=["linux/arm64"])
        assert set(outcomes(await run(text)).values()) == {"copied"}
        made = json.loads(destination.manifest("a/app", "v1") or b"")
        assert [entry["digest"] for entry in made["manifests"]] == [children["linux/arm64"]]
        assert set(outcomes(await run(text, dry_run=True)).values()) == {"up_to_date"}


async def test_a_child_that_is_called_something_else_comes_with_what_it_names(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    image = fake_source.image("a/app", None)
    inner = fake_source.index("a/app", None, [image])
    fake_source.index("a/app", "v1", [inner])
    held = fake_source.storage.repository("a/app").manifests
    held[inner] = Manifest(held[inner].data, "binary/octet-stream")
    fake_destination.quirks.check_references = False
    assert errors(await run(one(fake_source, fake_destination))) == {}
    assert set(fake_destination.storage.repository("a/app").manifests) >= {image, inner}
    assert fake_destination.media_type("a/app", inner) == OCI_INDEX


async def test_a_pin_holds_for_the_bytes_that_are_put(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    # The header of its signature, which no digest covers, says that the payload is that of the real one.
    payload = b'{"schemaVersion": 1, "fsLayers": []}'
    pin = sha256(payload)
    shown = {"schemaVersion": 1, "fsLayers": [{"blobSum": sha256(b"evil")}], "signatures": envelope(0, payload)}
    fake_source.add_manifest("a/app", None, json.dumps(shown).encode(), DOCKER_SCHEMA1, pin)
    fake_source.add_blob("a/app", b"evil")
    fake_destination.quirks.check_references = False
    host = fake_destination.host
    report = await run(configured({f"{fake_source.host}/a/app@{pin}": f"{host}/a/app"}, fake_source, fake_destination))
    assert "other bytes" in errors(report)[f"{host}/a/app@{pin}"]
    assert fake_destination.count("manifest-put", "upload-start") == 0


async def test_what_a_registry_writes_anew_is_reported_once_as_it_stored_it(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    fake_destination.quirks.rewrite_manifests = True
    digest = fake_source.image("a/app", "v1")
    text = one(fake_source, fake_destination)
    (first,) = (await run(text)).images
    stored = fake_destination.digest("a/app", "v1")
    assert (first.outcome, first.digest) == ("copied", stored)
    assert first.warning == f"{fake_destination.host} stored it as {stored}; the source has {digest}"
    assert any(first.warning in record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    (second,) = (await run(text)).images
    assert (second.outcome, second.digest, second.warning) == ("up_to_date", stored, None)
    # Another image under the tag is copied, even where it differs in nothing that the registry keeps.
    fake_source.image("a/app", "v1", [b"newer"])
    (third,) = (await run(text)).images
    assert (third.outcome, third.digest) == ("copied", fake_destination.digest("a/app", "v1"))
    assert third.digest != stored


@pytest.mark.parametrize("tag", ["", ":stable"])
async def test_a_pin_that_a_registry_writes_anew_has_failed(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, tag: str
) -> None:
    fake_destination.quirks.rewrite_manifests = True
    digest = fake_source.image("a/app", None)
    host = fake_destination.host
    text = configured({f"{fake_source.host}/a/app@{digest}": f"{host}/a/app{tag}"}, fake_source, fake_destination)
    for _ in range(2):
        (words,) = errors(await run(text)).values()
        assert "stored it as" in words
        assert host in words


async def test_children_that_a_registry_writes_anew_leave_no_index(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_destination.quirks.rewrite_manifests = True
    fake_source.index("a/app", "v1", [fake_source.image("a/app", None)])
    assert "as another manifest" in next(iter(errors(await run(one(fake_source, fake_destination))).values()))
    assert fake_destination.tags("a/app") == []


async def test_an_answer_that_all_is_stored_is_not_believed(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("a/app", "v1")
    headers = {"Docker-Content-Digest": sha256(b"other")}
    fake_destination.rules.append(Fault("manifest-put", actions.respond(201, b"", headers)))
    assert "does not have it" in next(iter(errors(await run(one(fake_source, fake_destination))).values()))


@pytest.mark.parametrize("options", [{}, {"platforms": ["linux/amd64"]}], ids=["all", "filtered"])
async def test_an_index_that_gives_a_wrong_size_of_a_child_is_copied_as_it_is(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, options: dict[str, Any]
) -> None:
    child = fake_source.index("a/app", None, {"linux/amd64": fake_source.image("a/app", None)})
    entry = {"mediaType": OCI_INDEX, "digest": child, "size": 5}
    entries = [entry, {**entry, "size": 6}]
    body = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    digest = fake_source.add_manifest("a/app", "v1", body, OCI_INDEX)
    assert errors(await run(one(fake_source, fake_destination, **options))) == {}
    assert fake_destination.digest("a/app", "v1") == digest
    assert fake_destination.manifest("a/app", child) == fake_source.manifest("a/app", child)


@pytest.mark.parametrize("code", ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"])
@pytest.mark.parametrize("status", [400, 404])
async def test_a_manifest_whose_blobs_are_denied_is_put_once_more(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, status: int, code: str
) -> None:
    digest = fake_source.image("a/app", "v1", [b"one", b"two"])
    fake_destination.rules.append(Fault("manifest-put", actions.refuse(status, code), times=1))
    assert errors(await run(one(fake_source, fake_destination))) == {}
    assert fake_destination.digest("a/app", "v1") == digest
    # All three are looked up again, and none is sent again.
    assert fake_destination.count("manifest-put") == 2
    assert fake_destination.count("blob-head") == 6
    assert fake_destination.count("upload-put") == 3


async def test_blobs_that_are_denied_and_not_there_are_brought_again(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    digest = fake_source.image("a/app", "v1", [b"one", b"two"])
    lost = sha256(b"two")

    def lose() -> None:
        fake_destination.storage.repository("a/app").blobs.discard(lost)

    fake_destination.rules.append(Fault("manifest-put", actions.run_first(lose), times=1))
    assert errors(await run(one(fake_source, fake_destination))) == {}
    assert fake_destination.digest("a/app", "v1") == digest
    uploads = fake_destination.log.entries("upload-put")
    assert len([entry for entry in uploads if entry.query["digest"] == [lost]]) == 2


async def test_a_mount_that_was_none_is_made_good_with_an_upload(fake_source: FakeRegistry) -> None:
    with FakeRegistry() as destination:
        fake_source.image("a/app", "v1")
        text = configured(
            {f"{fake_source.host}/a/app:v1": [f"{destination.host}/a/app", f"{destination.host}/b/app"]},
            *(fake_source, destination),
        )
        # The registry answers that it has mounted, and has not.
        destination.rules.append(Fault(Match("mount"), actions.respond(201)))
        assert errors(await run(text)) == {}
        assert destination.digest("b/app", "v1") == fake_source.digest("a/app", "v1")


async def test_a_child_that_is_denied_is_brought_again(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    children = [fake_source.image("a/app", None, [bytes([number])]) for number in range(3)]
    digest = fake_source.index("a/app", "v1", children)

    def lose() -> None:
        del fake_destination.storage.repository("a/app").manifests[children[-1]]

    fake_destination.rules.append(Fault(Match("manifest-put", path="v1"), actions.run_first(lose), times=1))
    assert errors(await run(one(fake_source, fake_destination))) == {}
    assert fake_destination.digest("a/app", "v1") == digest
    assert fake_destination.digest("a/app", children[-1]) == children[-1]


async def test_a_manifest_that_is_denied_again_has_failed(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("a/app", "v1")
    fake_destination.rules.append(Fault("manifest-put", actions.refuse(404, "MANIFEST_BLOB_UNKNOWN", "no such blob")))
    assert "no such blob" in next(iter(errors(await run(one(fake_source, fake_destination))).values()))
    assert fake_destination.count("manifest-put") == 2
