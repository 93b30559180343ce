"""Manifests and indexes as bytes, with the blobs they need."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


def sha256(data: bytes) -> str:
    """The digest of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(media_type: str, data: bytes, /, **more: Any) -> dict[str, Any]:
    """Describe some bytes."""
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data), **more}


def platform_of(text: str) -> dict[str, str]:
    """Read `os/arch[/variant]`."""
    return dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))


@dataclass(frozen=True)
class Layer:
    """A layer that is not just a gzip tar. With `urls` it is foreign: its bytes are not pushed."""

    data: bytes
    media_type: str
    urls: tuple[str, ...] = ()
    annotations: dict[str, str] = field(default_factory=dict)

    def descriptor(self) -> dict[str, Any]:
        """Describe the layer."""
        more: dict[str, Any] = {"urls": list(self.urls)} if self.urls else {}
        if self.annotations:
            more["annotations"] = self.annotations
        return descriptor(self.media_type, self.data, **more)


@dataclass(frozen=True)
class Document:
    """A manifest or index: its bytes, its type, and the blobs that must be there first."""

    data: bytes
    media_type: str
    blobs: tuple[bytes, ...] = ()

    @property
    def digest(self) -> str:
        """The digest of its bytes."""
        return sha256(self.data)

    def json(self) -> dict[str, Any]:
        """The document that the bytes hold."""
        document: dict[str, Any] = json.loads(self.data)
        return document


def document(content: dict[str, Any], media_type: str, *blobs: bytes) -> Document:
    """Make the bytes of a document."""
    return Document(json.dumps(content, indent=2).encode(), media_type, blobs)


def image_manifest(layers: list[bytes | Layer], platform: str = "linux/amd64", *, docker: bool = False) -> Document:
    """Make an image of OCI's or Docker's sort. Layers that are mere bytes are called gzip tars."""
    ordinary = DOCKER_LAYER if docker else OCI_LAYER
    held = [layer if isinstance(layer, Layer) else Layer(layer, ordinary) for layer in layers]
    diff_ids = [sha256(layer.data) for layer in held]
    config = json.dumps({**platform_of(platform), "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    content = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor(DOCKER_CONFIG if docker else OCI_CONFIG, config),
        "layers": [layer.descriptor() for layer in held],
    }
    return document(content, media_type, config, *(layer.data for layer in held if not layer.urls))


def index_manifest(children: list[tuple[str, bytes, str, str | None]], *, docker: bool = False) -> Document:
    """Make an index of children: media type, bytes, digest, and platform or None."""
    entries = []
    for media_type, data, digest, platform in children:
        entry: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": len(data)}
        if platform is not None:
            entry["platform"] = platform_of(platform)
        entries.append(entry)
    media_type = DOCKER_LIST if docker else OCI_INDEX
    return document({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}, media_type)
