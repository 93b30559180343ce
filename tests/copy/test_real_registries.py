"""Images of every sort, copied between real registries and judged by skopeo: the same digest, the same bytes."""

from collections.abc import Callable
from typing import Any

import pytest

from testkit.images import raw
from testkit.images.documents import Document, image_manifest
from testkit.images.making import ImageMaker
from testkit.images.push import push_document
from testkit.images.schema1 import schema1_manifest
from testkit.registries.distribution import DistributionRegistry
from testkit.registries.inprocess import FakeRegistry
from tests.copy.judging import assert_same
from tests.copy.running import configured, outcomes, run

Push = Callable[[str, str, str], str]


def pushed(document: Document) -> Push:
    """Return what pushes one document."""
    return lambda host, repository, tag: push_document(host, repository, tag, document)


async def copied(source: DistributionRegistry, destination: DistributionRegistry, repository: str, digest: str) -> None:
    """Copy the tag v1, judge it, and see that a second run finds it there."""
    text = configured(
        {f"{source.host}/{repository}:v1": f"{destination.host}/mirror/{repository}"}, source, destination
    )
    report = await run(text)
    (image,) = report.images
    assert (image.outcome, image.error, image.digest) == ("copied", None, digest)
    assert assert_same(source, repository, destination, f"mirror/{repository}", "v1") == digest
    (again,) = (await run(text)).images
    assert (again.outcome, again.digest) == ("up_to_date", digest)


@pytest.mark.parametrize("docker", [False, True])
async def test_a_single_image_is_copied(
    source_registry: DistributionRegistry,
    destination_registry: DistributionRegistry,
    image_maker: ImageMaker,
    repository: str,
    docker: bool,
) -> None:
    image = image_maker.image("single", (b"one", b"two"), docker=docker)
    digest = image_maker.push(image, source_registry.host, repository, "v1")
    await copied(source_registry, destination_registry, repository, digest)


@pytest.mark.parametrize("docker", [False, True])
async def test_an_index_is_copied(
    source_registry: DistributionRegistry,
    destination_registry: DistributionRegistry,
    image_maker: ImageMaker,
    repository: str,
    docker: bool,
) -> None:
    digest = image_maker.push_index(source_registry.host, repository, "v1", docker=docker)
    await copied(source_registry, destination_registry, repository, digest)


@pytest.mark.parametrize(
    "push",
    [
        raw.push_nested_index,
        raw.push_odd_list,
        raw.push_attested_index,
        pushed(raw.artifact()),
        pushed(raw.helm_chart()),
        pushed(raw.foreign_image()),
        pushed(raw.referrer(raw.artifact())),
    ],
    ids=["nested-index", "odd-list", "attested-index", "artifact", "helm-chart", "foreign-layer", "referrer"],
)
async def test_artifacts_and_unusual_indexes_are_copied(
    source_registry: DistributionRegistry, destination_registry: DistributionRegistry, repository: str, push: Push
) -> None:
    digest = push(source_registry.host, repository, "v1")
    await copied(source_registry, destination_registry, repository, digest)


async def test_a_signed_schema_1_manifest_is_copied(
    destination_registry: DistributionRegistry, fake_source: FakeRegistry, repository: str
) -> None:
    document = schema1_manifest(repository, "v1", [raw.gzip_layer({"a": b"b"}), raw.gzip_layer({"c": b"d"})])
    digest = push_document(fake_source.host, repository, "v1", document)
    text = configured(
        {f"{fake_source.host}/{repository}": f"{destination_registry.host}/{repository}"},
        fake_source,
        destination_registry,
    )
    (image,) = (await run(text)).images
    assert (image.outcome, image.digest) == ("copied", digest)
    (again,) = (await run(text)).images
    assert (again.outcome, again.digest) == ("up_to_date", digest)


async def test_the_bytes_of_a_schema_1_manifest_are_kept(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    document = schema1_manifest("a/app", "v1", [raw.gzip_layer({"a": b"b"})])
    push_document(fake_source.host, "a/app", "v1", document)
    images = {f"{fake_source.host}/a/app:v1": f"{fake_destination.host}/a/app"}
    report = await run(configured(images, fake_source, fake_destination))
    assert outcomes(report) == {f"{fake_destination.host}/a/app:v1": "copied"}
    assert fake_destination.manifest("a/app", "v1") == document.data
    assert fake_destination.media_type("a/app", "v1") == document.media_type


async def test_an_image_named_by_its_digest_is_copied(
    source_registry: DistributionRegistry, destination_registry: DistributionRegistry, repository: str
) -> None:
    digest = raw.push_odd_list(source_registry.host, repository, None)
    images = {f"{source_registry.host}/{repository}@{digest}": f"{destination_registry.host}/{repository}"}
    (image,) = (await run(configured(images, source_registry, destination_registry))).images
    assert (image.outcome, image.destination) == ("copied", f"{destination_registry.host}/{repository}@{digest}")
    assert_same(source_registry, repository, destination_registry, repository, digest)


async def test_an_image_is_copied_with_a_password_over_tls_and_with_a_client_certificate(
    password_registry: DistributionRegistry,
    tls_registry: DistributionRegistry,
    client_certificate_registry: DistributionRegistry,
    repository: str,
) -> None:
    image = raw.artifact(repository)
    digest = push_document(password_registry.host, repository, "v1", image, password_registry.auth)
    certified = client_certificate_registry.client
    assert certified is not None
    auth: dict[str, dict[str, Any]] = {
        password_registry.host: {"username": "ferry", "password": password_registry.password, "insecure": True},
        tls_registry.host: {"ca_file": str(tls_registry.ca_file)},
        client_certificate_registry.host: {
            "ca_file": str(client_certificate_registry.ca_file),
            "client_cert": str(certified.certificate),
            "client_key": str(certified.key),
        },
    }
    targets = [f"{tls_registry.host}/{repository}", f"{client_certificate_registry.host}/{repository}"]
    report = await run(configured({f"{password_registry.host}/{repository}": targets}, auth=auth))
    assert [(image.outcome, image.digest) for image in report.images] == [("copied", digest)] * 2


async def test_a_large_layer_is_copied_in_several_pieces(
    source_registry: DistributionRegistry, destination_registry: DistributionRegistry, repository: str
) -> None:
    document = image_manifest([raw.random_layer(5_000_000), raw.random_layer(700_000)])
    digest = push_document(source_registry.host, repository, "v1", document)
    await copied(source_registry, destination_registry, repository, digest)
