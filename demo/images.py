"""Images made on the spot: nothing is downloaded for them."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from dataclasses import dataclass

from testkit.images.documents import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Document,
    descriptor,
    document,
    index_manifest,
    platform_of,
    sha256,
)
from testkit.images.push import push_document

PLATFORMS = ("linux/amd64", "linux/arm64/v8", "linux/arm/v7")

# Bytes of the file in each layer.
BASE, OWN = 4_000_000, 500_000


@dataclass(frozen=True)
class Pushed:
    """An image that is in the source: its repository and tag, and what it is in a few words."""

    repository: str
    tag: str
    what: str


@dataclass(frozen=True)
class Layer:
    """One layer: the tar file, and the same packed, as a registry stores it."""

    tar: bytes
    packed: bytes


def fill(host: str) -> list[Pushed]:
    """Push a few images to a registry over plain HTTP, and tell them."""
    base = _layer("base", BASE)
    for tag in ("1.0", "1.1"):
        push_document(host, "demo/app", tag, _image([base, _layer(f"app {tag}", OWN)], "linux/amd64"))
    push_document(host, "demo/tool", "latest", _image([_layer("tool", OWN)], "linux/amd64"))
    children = [(platform, _image([base, _layer(platform, OWN)], platform)) for platform in PLATFORMS]
    for _, child in children:
        push_document(host, "demo/multi", None, child)
    index = index_manifest([(child.media_type, child.data, child.digest, name) for name, child in children])
    push_document(host, "demo/multi", "2.0", index)
    return [
        Pushed("demo/app", "1.0", "an image of two layers"),
        Pushed("demo/app", "1.1", "another, on the same first layer"),
        Pushed("demo/tool", "latest", "an image of one layer"),
        Pushed("demo/multi", "2.0", f"an index for {', '.join(PLATFORMS)}, on that first layer too"),
    ]


def _layer(name: str, size: int) -> Layer:
    """Make a layer with one file. Its bytes depend on the name alone, and do not compress."""
    content = random.Random(name).randbytes(size)  # noqa: S311 - nothing secret
    entry = tarfile.TarInfo(f"{name.replace('/', '-')}.bin")
    entry.size = size
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(entry, io.BytesIO(content))
    tar = buffer.getvalue()
    return Layer(tar, gzip.compress(tar, compresslevel=1, mtime=0))


def _image(layers: list[Layer], platform: str) -> Document:
    rootfs = {"type": "layers", "diff_ids": [sha256(layer.tar) for layer in layers]}
    config = json.dumps({**platform_of(platform), "config": {}, "rootfs": rootfs}).encode()
    content = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, config),
        "layers": [descriptor(OCI_LAYER, layer.packed) for layer in layers],
    }
    return document(content, OCI_MANIFEST, config, *(layer.packed for layer in layers))
