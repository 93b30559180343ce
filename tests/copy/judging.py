"""Copies judged from outside: skopeo for the manifest, plain HTTP for all that it names."""

import json
from typing import Any

from testkit.images.documents import DOCKER_LIST, OCI_INDEX, sha256
from testkit.images.push import get_raw, request
from testkit.images.skopeo import skopeo_raw
from tests.copy.running import AnyRegistry


def assert_same(source: AnyRegistry, source_name: str, destination: AnyRegistry, name: str, reference: str) -> str:
    """Check that both have the same bytes under a tag or a digest, down to the last blob; return the digest."""
    raw = skopeo_raw(source.host, source_name, reference)
    assert skopeo_raw(destination.host, name, reference) == raw
    _assert_whole(destination, name, reference, raw)
    return sha256(raw)


def _assert_whole(registry: AnyRegistry, name: str, reference: str, raw: bytes) -> None:
    answer = get_raw(registry.host, name, reference, _TYPES)
    assert answer.body == raw
    document: dict[str, Any] = json.loads(raw)
    if answer.headers["content-type"] in (OCI_INDEX, DOCKER_LIST):
        for child in document["manifests"]:
            below = get_raw(registry.host, name, child["digest"], _TYPES)
            assert sha256(below.body) == child["digest"]
            assert below.headers["content-type"] == child["mediaType"]
            _assert_whole(registry, name, child["digest"], below.body)
        return
    for blob in _blobs(document):
        data = request("GET", registry.host, f"/v2/{name}/blobs/{blob}").body
        assert sha256(data) == blob


_TYPES = (
    OCI_INDEX,
    DOCKER_LIST,
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)


def _blobs(document: dict[str, Any]) -> set[str]:
    layers = [layer["digest"] for layer in document.get("layers", []) if not layer.get("urls")]
    config = [document["config"]["digest"]] if "config" in document else []
    return {*layers, *config, *(layer["blobSum"] for layer in document.get("fsLayers", []))}
