"""The real registry as the fixtures start it."""

from pathlib import Path

import pytest

from testkit.images import raw
from testkit.images.documents import Document
from testkit.images.making import ImageMaker
from testkit.images.push import get_raw, push_blob, push_document, request
from testkit.images.schema1 import schema1_manifest
from testkit.images.skopeo import skopeo_copy, skopeo_raw
from testkit.processes import MissingProgram, free_port, program
from testkit.registries import distribution
from testkit.registries.distribution import DistributionRegistry
from testkit.registries.inprocess import FakeRegistry


def test_its_log_has_the_kinds_of_the_other(source_registry: DistributionRegistry, repository: str) -> None:
    source_registry.clear_log()
    digest = push_blob(source_registry.host, repository, b"layer")
    request(
        "POST",
        source_registry.host,
        f"/v2/{repository}2/blobs/uploads/?mount={digest}&from={repository}",
        b"",
    )
    assert source_registry.counts() == {"upload-start": 1, "upload-put": 1, "mount": 1}
    assert [access.status for access in source_registry.requests()] == [202, 201, 201]


def test_skopeo_copies_an_index(
    source_registry: DistributionRegistry,
    destination_registry: DistributionRegistry,
    image_maker: ImageMaker,
    repository: str,
) -> None:
    image_maker.push_index(source_registry.host, repository, "v1", docker=True)
    skopeo_copy(
        f"docker://{source_registry.host}/{repository}:v1",
        f"docker://{destination_registry.host}/{repository}:v1",
        "--all",
    )
    made = skopeo_raw(source_registry.host, repository, "v1")
    assert skopeo_raw(destination_registry.host, repository, "v1") == made


def test_two_images_share_a_layer(
    source_registry: DistributionRegistry, image_maker: ImageMaker, repository: str
) -> None:
    one, two = image_maker.pair()
    image_maker.push(one, source_registry.host, repository, "one")
    source_registry.clear_log()
    image_maker.push(two, source_registry.host, repository, "two")
    # What another test has pushed there, skopeo may mount.
    assert source_registry.count("upload-put", "mount") == 2
    assert skopeo_raw(source_registry.host, repository, "one") == one.manifest


@pytest.mark.parametrize(
    "document", [raw.artifact(), raw.helm_chart(), raw.foreign_image(), raw.referrer(raw.artifact())]
)
def test_it_holds_what_is_no_ordinary_image(
    source_registry: DistributionRegistry, repository: str, document: Document
) -> None:
    assert push_document(source_registry.host, repository, "v1", document) == document.digest
    assert get_raw(source_registry.host, repository, "v1", (document.media_type,)).body == document.data


def test_it_holds_odd_indexes(source_registry: DistributionRegistry, repository: str) -> None:
    host = source_registry.host
    for push in (raw.push_nested_index, raw.push_odd_list, raw.push_attested_index):
        digest = push(host, repository, push.__name__)
        assert skopeo_raw(host, repository, digest) == skopeo_raw(host, repository, push.__name__)


def test_it_takes_a_signed_schema_1_manifest(source_registry: DistributionRegistry, repository: str) -> None:
    document = schema1_manifest(repository, "v1", [raw.gzip_layer({"a": b"b"})])
    digest = push_document(source_registry.host, repository, "v1", document)
    # Its digest is that of the payload; the signatures that it hands out are its own.
    assert digest != document.digest
    assert get_raw(source_registry.host, repository, "v1", (document.media_type,)).body != document.data


def test_it_wants_the_password(password_registry: DistributionRegistry) -> None:
    assert request("GET", password_registry.host, "/v2/").status == 401
    assert request("GET", password_registry.host, "/v2/", auth=password_registry.auth).status == 200


def test_it_has_a_certificate(tls_registry: DistributionRegistry) -> None:
    assert request("GET", tls_registry.host, "/v2/", context=tls_registry.client_context()).status == 200


def test_it_wants_a_certificate(client_certificate_registry: DistributionRegistry) -> None:
    context = client_certificate_registry.client_context()
    assert request("GET", client_certificate_registry.host, "/v2/", context=context).status == 200


def test_it_goes_away_and_comes_back(destination_registry: DistributionRegistry) -> None:
    host = destination_registry.host
    destination_registry.stop()
    with pytest.raises(ConnectionRefusedError):
        request("GET", host, "/v2/")
    destination_registry.start()
    assert destination_registry.host == host
    assert request("GET", host, "/v2/").status == 200


def test_a_missing_program_is_told_with_its_package() -> None:
    with pytest.raises(MissingProgram, match="apt-get install docker-registry"):
        program("no-such-registry", package="docker-registry")


def test_a_taken_port_is_left_to_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_source: FakeRegistry
) -> None:
    taken = int(fake_source.host.rpartition(":")[2])
    ports = iter([taken, free_port(), free_port(), free_port(), free_port()])
    monkeypatch.setattr(distribution, "free_port", lambda: next(ports))
    with DistributionRegistry(tmp_path) as registry:
        assert registry.host != fake_source.host
