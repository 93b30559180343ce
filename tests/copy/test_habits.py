"""Habits of registries and images that a whole copy must have an answer to."""

import logging

import pytest

from imageferry.copy import manifest_contents
from imageferry.copy.errors import DeliveryError
from imageferry.copy.transfer import BlobTransfer
from imageferry.registry import Descriptor
from imageferry.report.outcomes import Outcomes
from testkit.images import raw
from testkit.images.documents import DOCKER_FOREIGN_LAYER, Document, Layer, image_manifest, sha256
from testkit.images.schema1 import schema1_manifest
from testkit.registries import actions
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.quirks import Quirks
from tests.copy.running import configured, errors, outcomes, run
from tests.registry.canned import canned


def hold(registry: FakeRegistry, document: Document, tag: str | None = "v1") -> str:
    """Put a document and its blobs there."""
    for blob in document.blobs:
        registry.add_blob("a/app", blob)
    return registry.add_manifest("a/app", tag, document.data, document.media_type)


def one(source: FakeRegistry, destination: FakeRegistry) -> str:
    """Write a configuration that copies a/app:v1."""
    return configured({f"{source.host}/a/app:v1": f"{destination.host}/a/app"}, source, destination)


@pytest.mark.parametrize(
    "document",
    [raw.artifact(), raw.helm_chart(), raw.referrer(raw.artifact()), raw.foreign_image()],
    ids=["artifact", "chart", "referrer", "foreign"],
)
async def test_artifacts_and_unusual_images_are_copied_as_they_are(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, document: Document
) -> None:
    digest = hold(fake_source, document)
    assert errors(await run(one(fake_source, fake_destination))) == {}
    assert fake_destination.manifest("a/app", "v1") == document.data
    assert fake_destination.media_type("a/app", digest) == document.media_type
    assert all(fake_destination.blob("a/app", sha256(blob)) == blob for blob in document.blobs)


@pytest.mark.parametrize(("urls", "reads"), [(("https://layers.invalid/x",), 0), ((), 1)])
async def test_a_foreign_layer_is_not_copied(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, urls: tuple[str, ...], reads: int
) -> None:
    layer = Layer(b"base", DOCKER_FOREIGN_LAYER, urls)
    hold(fake_source, image_manifest([layer], "windows/amd64", docker=True))
    assert errors(await run(one(fake_source, fake_destination))) == {}
    asked = [entry for entry in fake_source.log.entries("blob-get") if sha256(b"base") in entry.path]
    assert len(asked) == reads


@pytest.mark.parametrize("held", [True, False], ids=["the source holds it", "the source does not"])
async def test_a_registry_may_have_foreign_layers_too(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, held: bool
) -> None:
    layer = Layer(b"base", DOCKER_FOREIGN_LAYER, ("https://layers.invalid/x",))
    hold(fake_source, image_manifest([layer], "windows/amd64", docker=True))
    if held:
        fake_source.add_blob("a/app", b"base")
    with FakeRegistry() as without:
        text = configured(
            {f"{fake_source.host}/a/app:v1": [f"{fake_destination.host}/a/app", f"{without.host}/a/app"]},
            *(fake_source, fake_destination, without),
            registries={fake_destination.host: {"foreign_layers": True}},
        )
        assert set(outcomes(await run(text)).values()) == {"copied"}
        assert sha256(b"base") not in without.storage.blobs
    assert (sha256(b"base") in fake_destination.storage.blobs) == held


@pytest.mark.parametrize("status", [400, 403, 404, 405])
async def test_a_foreign_layer_is_not_left_out_where_head_is_refused(
    fake_destination: FakeRegistry, status: int
) -> None:
    layer = Layer(b"base", DOCKER_FOREIGN_LAYER, ("https://layers.invalid/x",))
    with FakeRegistry(Quirks(blob_head=status)) as source:
        hold(source, image_manifest([layer], "windows/amd64", docker=True))
        source.add_blob("a/app", b"base")
        text = configured(
            {f"{source.host}/a/app:v1": f"{fake_destination.host}/a/app"},
            *(source, fake_destination),
            registries={fake_destination.host: {"foreign_layers": True}},
        )
        assert set(outcomes(await run(text)).values()) == {"copied"}
        assert fake_destination.blob("a/app", sha256(b"base")) == b"base"
        # Where the registry does not let it be read, the image has failed.
        source.rules.append(Fault(Match("blob-get", path=sha256(b"base")), actions.refuse(403, "DENIED", "not yours")))
        fake_destination.storage.repositories.clear()
        (words,) = errors(await run(text)).values()
    assert "not yours" in words


@pytest.mark.parametrize("status", [400, 403, 404, 405])
async def test_a_schema_1_image_of_a_registry_that_refuses_head(fake_destination: FakeRegistry, status: int) -> None:
    with FakeRegistry(Quirks(blob_head=status)) as source:
        document = schema1_manifest("a/app", "v1", [b"one", b"two"])
        digest = hold(source, document)
        assert errors(await run(one(source, fake_destination))) == {}
    assert fake_destination.manifest("a/app", digest) == document.data
    assert fake_destination.blob("a/app", sha256(b"two")) == b"two"


async def test_a_blob_whose_size_nobody_gives_is_told() -> None:
    blob = Descriptor("", sha256(b"one"), -1)
    async with canned(lambda request: (200, [], b"one")) as (repository, _):
        with pytest.raises(DeliveryError, match=r"neither its manifest nor registry\.example gives its size"):
            await BlobTransfer(blob, [repository], Outcomes(), {}).run([repository])


@pytest.mark.parametrize("status", [404, 405])
async def test_a_dry_run_where_head_does_not_work(fake_destination: FakeRegistry, status: int) -> None:
    with FakeRegistry(Quirks(manifest_head=status)) as source:
        digest = source.image("a/app", "v1")
        (image,) = (await run(one(source, fake_destination), dry_run=True)).images
    assert (image.outcome, image.digest, image.error) == ("would_copy", digest, None)


async def test_an_image_of_manifests_without_end_is_given_up(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_contents, "MANIFESTS_LIMIT", 5)
    children = [fake_source.image("a/app", None, [bytes([number])]) for number in range(9)]
    fake_source.index("a/app", "v1", children)
    report = await run(one(fake_source, fake_destination))
    assert outcomes(report) == {f"{fake_destination.host}/a/app:v1": "failed"}
    assert "more than 5 manifests" in next(iter(errors(report).values()))
    assert fake_source.count("manifest-get") <= 1 + 5
    assert fake_destination.tags("a/app") == []


async def test_the_bound_on_the_manifests_of_an_image_holds_under_a_filter(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_contents, "MANIFESTS_LIMIT", 5)
    children = [
        fake_source.index("a/app", None, {"linux/amd64": fake_source.image("a/app", None, [bytes([number])])})
        for number in range(9)
    ]
    fake_source.index("a/app", "v1", children)
    fake_destination.index("a/app", "v1", [fake_destination.image("a/app", None)])
    rule = {"from": f"{fake_source.host}/a/app:v1", "to": f"{fake_destination.host}/a/app", "platforms": ["linux"]}
    for force, dry_run in ((False, False), (True, False), (False, True)):
        fake_source.clear_log()
        report = await run(configured([rule], fake_source, fake_destination), force=force, dry_run=dry_run)
        assert "more than 5 manifests" in next(iter(errors(report).values()))
        assert fake_source.count("manifest-get") == 5


async def test_no_control_character_of_a_registry_comes_into_a_log_or_a_report(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "imageferry")
    fake_source.image("a/app", "v1")
    elsewhere = f"{fake_source.url}/v2/%1b%5b2J%e2%80%ae"
    fake_source.rules.append(Fault("blob-get", actions.redirect(lambda call: elsewhere)))
    fake_source.rules.append(Fault(Match(path="2J"), actions.refuse(503, "\x1b[2J", "a\u202eb\ud800")))
    report = await run(one(fake_source, fake_destination))
    (words,) = errors(report).values()
    assert "\\x1b[2J" in words
    assert "\\ud800" in words
    for text in (report.to_json(), *(record.getMessage() for record in caplog.records)):
        assert not {"\x1b", "\u202e"} & set(text)
    assert any("\\x1b[2J" in record.getMessage() for record in caplog.records)
