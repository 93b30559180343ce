"""Manifests that image tools do not make, but that registries hold."""

import gzip
import io
import json
import os
import struct
import tarfile
from typing import Any

from testkit.images.documents import (
    DOCKER_FOREIGN_LAYER,
    DOCKER_LIST,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Document,
    Layer,
    descriptor,
    document,
    image_manifest,
    platform_of,
)
from testkit.images.push import Auth, push_document

EMPTY = b"{}"


def tar_of(files: dict[str, bytes]) -> bytes:
    """Make a tar, the same for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def gzip_layer(files: dict[str, bytes]) -> bytes:
    """Make a layer, the same for the same files."""
    return gzip.compress(tar_of(files), mtime=0)


def random_layer(size: int) -> bytes:
    """Make a layer of random bytes of about that size, which no other image has."""
    return gzip.compress(tar_of({"data": os.urandom(size)}), compresslevel=1, mtime=0)


def zstd_layer(files: dict[str, bytes]) -> bytes:
    """Make a zstd frame around a tar of 256 to 65,535 bytes, stored without compression."""
    data = tar_of(files)
    frame = struct.pack("<IBH", 0xFD2FB528, 0x60, len(data) - 256)
    return frame + (len(data) << 3 | 1).to_bytes(3, "little") + data


def artifact(name: str = "artifact") -> Document:
    """Make an artifact with the empty config and a zstd layer."""
    layer = zstd_layer({"name": name.encode()})
    content = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.thing.v1",
        "config": descriptor(OCI_EMPTY, EMPTY, data="e30="),
        "layers": [descriptor(OCI_LAYER_ZSTD, layer, annotations={"org.opencontainers.image.title": name})],
    }
    return document(content, OCI_MANIFEST, EMPTY, layer)


def helm_chart(name: str = "chart", version: str = "1.2.3") -> Document:
    """Make what `helm push` makes."""
    config = json.dumps({"name": name, "version": version, "apiVersion": "v2"}).encode()
    chart = gzip_layer({f"{name}/Chart.yaml": f"apiVersion: v2\nname: {name}\nversion: {version}\n".encode()})
    content = {
        "schemaVersion": 2,
        "config": descriptor("application/vnd.cncf.helm.config.v1+json", config),
        "layers": [descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip", chart)],
        "annotations": {"org.opencontainers.image.title": name, "org.opencontainers.image.version": version},
    }
    return document(content, OCI_MANIFEST, config, chart)


def referrer(subject: Document, name: str = "signature") -> Document:
    """Make an artifact whose subject is another manifest."""
    layer = json.dumps({"signed": name}).encode()
    content = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.signature.v1",
        "config": descriptor(OCI_EMPTY, EMPTY),
        "layers": [descriptor("application/vnd.example.signature.v1+json", layer)],
        "subject": descriptor(subject.media_type, subject.data),
    }
    return document(content, OCI_MANIFEST, EMPTY, layer)


def foreign_image(url: str = "https://layers.invalid/base.tar.gz") -> Document:
    """Make a Docker image whose first layer is foreign: named with URLs and not pushed."""
    base = Layer(gzip_layer({"base": b"elsewhere"}), DOCKER_FOREIGN_LAYER, (url,))
    return image_manifest([base, gzip_layer({"own": b"here"})], "windows/amd64", docker=True)


def attestation(subject: Document) -> Document:
    """Make the attestation that buildkit puts beside an image."""
    statement = json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v0.1",
            "subject": [{"digest": {"sha256": subject.digest[7:]}}],
        }
    ).encode()
    return image_manifest([Layer(statement, "application/vnd.in-toto+json")], "unknown/unknown")


def oci_index(children: list[tuple[Document, str | None]], **more: Any) -> Document:
    """Make an index of documents, each with its platform or None."""
    entries = [_entry(child, platform) for child, platform in children]
    return document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, **more}, OCI_INDEX)


def attested_index(image: Document, platform: str = "linux/amd64") -> tuple[Document, list[Document]]:
    """Make an index of an image and its attestation (platform unknown/unknown), and return the children too."""
    proof = attestation(image)
    entry = _entry(proof, "unknown/unknown")
    entry["annotations"] = {
        "vnd.docker.reference.digest": image.digest,
        "vnd.docker.reference.type": "attestation-manifest",
    }
    content = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [_entry(image, platform), entry]}
    return document(content, OCI_INDEX), [image, proof]


def odd_list(children: list[tuple[Document, str]]) -> Document:
    """Make a Docker manifest list with odd white space, an odd order of keys and fields that nobody knows."""
    entries = [
        {
            "platform": {**platform_of(platform), "features": ["sse4"], "x-odd": None},
            **_entry(child, None),
            "x-weight": 1.50,
        }
        for child, platform in children
    ]
    content = {
        "manifests": entries,
        "x-unknown": {"\u00fc": [1, 2.0, None]},
        "mediaType": DOCKER_LIST,
        "schemaVersion": 2,
    }
    text = json.dumps(content, indent="\t", separators=(" ,", "  :  "), ensure_ascii=False)
    return Document(b"\r\n" + text.encode() + b" \n\n\t", DOCKER_LIST)


def push_tree(
    host: str,
    repository: str,
    tag: str | None,
    index: Document,
    children: list[Document],
    auth: Auth | None = None,
) -> str:
    """Put children by digest, in their order, then the index by tag. Gives the index's digest."""
    for child in children:
        push_document(host, repository, None, child, auth)
    return push_document(host, repository, tag, index, auth)


def push_nested_index(host: str, repository: str, tag: str | None, auth: Auth | None = None) -> str:
    """Put an index that holds an index that holds an image, beside an image of its own."""
    deep = image_manifest([gzip_layer({"deep": b"deep"})], "linux/arm64")
    flat = image_manifest([gzip_layer({"flat": b"flat"})], "linux/amd64")
    inner = oci_index([(deep, "linux/arm64")], annotations={"level": "2"})
    outer = oci_index([(flat, "linux/amd64"), (inner, None)])
    return push_tree(host, repository, tag, outer, [deep, flat, inner], auth)


def push_odd_list(host: str, repository: str, tag: str | None, auth: Auth | None = None) -> str:
    """Put the odd manifest list over two Docker images."""
    platforms = ("linux/amd64", "linux/arm64/v8")
    children = [(image_manifest([gzip_layer({"for": name.encode()})], name, docker=True), name) for name in platforms]
    return push_tree(host, repository, tag, odd_list(children), [child for child, _ in children], auth)


def push_attested_index(host: str, repository: str, tag: str | None, auth: Auth | None = None) -> str:
    """Put an image with its attestation."""
    index, children = attested_index(image_manifest([gzip_layer({"built": b"here"})]))
    return push_tree(host, repository, tag, index, children, auth)


def _entry(child: Document, platform: str | None) -> dict[str, Any]:
    return descriptor(child.media_type, child.data, **({"platform": platform_of(platform)} if platform else {}))
