"""The payload of signed schema 1 manifests, and documents that would have one which they are not."""

import json
from typing import Any

import pytest

from imageferry.registry.errors import DigestMismatch
from imageferry.registry.schema1 import signed_payload
from testkit.images.documents import DOCKER_MANIFEST, DOCKER_SCHEMA1, image_manifest, sha256
from testkit.images.raw import gzip_layer
from testkit.images.schema1 import envelope, schema1_manifest, signed
from testkit.registries.inprocess import FakeRegistry
from tests.registry.opening import opened

REAL = schema1_manifest("a/app", "v1", [gzip_layer({"a": b"b"})])


def evil(signatures: Any, **more: Any) -> bytes:
    """Make a document of other layers than the real one."""
    layers = [{"blobSum": sha256(b"evil")}]
    return json.dumps({"schemaVersion": 1, "fsLayers": layers, **more, "signatures": signatures}).encode()


def forged() -> dict[str, bytes]:
    """Return documents that say other things than the real payload, which their envelopes name."""
    wanted = signed_payload(REAL.data, REAL.json()) or b""
    shown = evil([])[: -len(b', "signatures": []}')]
    payload_of_shown = shown + b"}"
    return {
        "the whole payload is the tail": evil(envelope(0, wanted)),
        "all but a byte": wanted[:1] + evil(envelope(1, wanted[1:]))[1:],
        "a length below nothing": evil(envelope(-1, wanted)),
        "a length that is true": evil(envelope(True, wanted[1:])),
        "members after the payload": wanted[:-2]
        + b', "fsLayers": [{"blobSum": "%s"}], "signatures": %s}'
        % (sha256(b"evil").encode(), json.dumps(envelope(len(wanted) - 2, wanted[-2:])).encode()),
        "members after the signatures": wanted[:-2]
        + b', "signatures": %s, "fsLayers": []}' % json.dumps(envelope(len(wanted) - 2, wanted[-2:])).encode(),
        "two opinions": evil([*envelope(len(shown), payload_of_shown[len(shown) :]), *envelope(0, wanted)]),
    }


def test_the_payload_is_the_document_without_the_signatures() -> None:
    payload = signed_payload(REAL.data, REAL.json()) or b""
    unsigned = REAL.json()
    del unsigned["signatures"]
    assert json.loads(payload) == unsigned
    assert signed_payload(signed(payload), REAL.json()) == payload


@pytest.mark.parametrize("document", [{}, {"schemaVersion": 1, "fsLayers": []}, {"schemaVersion": 2, "layers": []}])
def test_what_is_not_signed_has_no_payload(document: dict[str, Any]) -> None:
    assert signed_payload(json.dumps(document).encode(), document) is None


@pytest.mark.parametrize("name", forged())
async def test_a_forged_envelope_is_no_way_round_a_digest(fake_source: FakeRegistry, name: str) -> None:
    digest = sha256(signed_payload(REAL.data, REAL.json()) or b"")
    fake_source.add_manifest("a/app", None, forged()[name], DOCKER_SCHEMA1, digest)
    async with opened(fake_source.host) as repository:
        with pytest.raises(DigestMismatch, match=digest):
            await repository.manifests.get(digest)


@pytest.mark.parametrize("media_type", [DOCKER_SCHEMA1, DOCKER_MANIFEST])
async def test_an_image_is_no_payload_of_itself_with_signatures(fake_source: FakeRegistry, media_type: str) -> None:
    image = image_manifest([b"layer"], docker=True)
    length = len(image.data) - 2
    body = image.data[:length] + b', "signatures": %s\n}' % json.dumps(envelope(length, b"\n}")).encode()
    fake_source.add_manifest("a/app", None, body, media_type, image.digest)
    async with opened(fake_source.host) as repository:
        with pytest.raises(DigestMismatch, match=image.digest):
            await repository.manifests.get(image.digest)


async def test_a_store_that_knows_nothing_of_signatures_may_name_it_by_all_its_bytes(fake_source: FakeRegistry) -> None:
    fake_source.add_manifest("a/app", None, REAL.data, DOCKER_SCHEMA1, sha256(REAL.data))
    async with opened(fake_source.host) as repository:
        found = await repository.manifests.get(sha256(REAL.data))
    assert (found.digest, found.body) == (sha256(REAL.data), REAL.data)
