"""Images made from a seed alone."""

import json
from dataclasses import dataclass
from random import Random
from typing import Any

from testkit.images.documents import OCI_EMPTY, OCI_MANIFEST, Document, descriptor, document, image_manifest
from testkit.images.documents import index_manifest as index_of

KIB, MIB = 1024, 1024 * 1024

_PLATFORMS = ("linux/amd64", "linux/arm64/v8", "linux/arm/v7", "windows/amd64")


@dataclass(frozen=True)
class Image:
    """One tag of one repository: the manifest that it names, and those that must be there before."""

    repository: str
    tag: str
    root: Document
    children: tuple[Document, ...] = ()

    @property
    def blobs(self) -> dict[str, int]:
        """The sizes (bytes) of all blobs, by digest."""
        return {digest: size for held in (self.root, *self.children) for digest, size in _named_by(held.json()).items()}


def _named_by(content: dict[str, Any]) -> dict[str, int]:
    entries = [*([content["config"]] if "config" in content else []), *content.get("layers", [])]
    return {entry["digest"]: entry["size"] for entry in entries}


def layer(rng: Random, largest: int) -> bytes:
    """Make a layer of random bytes: often small, seldom empty, sometimes as large as it may be (bytes)."""
    bounds = rng.choices([(0, 0), (1, 2 * KIB), (2 * KIB, 400 * KIB), (400 * KIB, largest)], [1, 4, 6, 5])[0]
    return rng.randbytes(rng.randint(*bounds))


def images(rng: Random, largest: int, most: int) -> list[Image]:
    """Make up to ``most`` images that share layers: some plain, some indexes, some artifacts."""
    shared = [layer(rng, largest) for _ in range(rng.randint(1, 3))]
    repositories = ["a/app", "a/b/tool"][: rng.randint(1, 2)]
    made: list[Image] = []
    for number in range(rng.randint(1, most)):
        repository, tag = rng.choice(repositories), f"v{number}"
        sort = rng.choices(["image", "index", "nested", "artifact"], [6, 5, 1, 2])[0]
        if sort == "artifact":
            made.append(Image(repository, tag, _artifact(layer(rng, largest))))
        elif sort == "image":
            made.append(Image(repository, tag, _image(rng, shared, largest, rng.choice(_PLATFORMS))))
        else:
            made.append(_index(rng, repository, tag, shared, largest, nested=sort == "nested"))
    return made


def _image(rng: Random, shared: list[bytes], largest: int, platform: str, docker: bool | None = None) -> Document:
    own = [layer(rng, largest) for _ in range(rng.randint(0, 2))]
    layers = [*rng.sample(shared, rng.randint(0, len(shared))), *own]
    return image_manifest(list(layers), platform, docker=rng.random() < 0.5 if docker is None else docker)


def _artifact(data: bytes) -> Document:
    empty = b"{}"
    content = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.thing.v1",
        "config": descriptor(OCI_EMPTY, empty),
        "layers": [descriptor("application/octet-stream", data)],
    }
    return document(content, OCI_MANIFEST, empty, data)


def _index(rng: Random, repository: str, tag: str, shared: list[bytes], largest: int, *, nested: bool) -> Image:
    docker = rng.random() < 0.5 and not nested
    platforms = rng.sample(_PLATFORMS, rng.randint(1, len(_PLATFORMS)))
    children = [_image(rng, shared, largest, platform, docker) for platform in platforms]
    entries: list[tuple[str, bytes, str, str | None]] = [
        (child.media_type, child.data, child.digest, platform)
        for child, platform in zip(children, platforms, strict=True)
    ]
    root = index_of(entries, docker=docker)
    if not nested:
        return Image(repository, tag, root, tuple(children))
    outer = index_of([(root.media_type, root.data, root.digest, None)])
    return Image(repository, tag, outer, (*children, root))


def described(image: Image) -> dict[str, Any]:
    """Describe an image in the record of a seed."""
    return {
        "image": f"{image.repository}:{image.tag}",
        "digest": image.root.digest,
        "manifests": 1 + len(image.children),
        "blobs": image.blobs,
        "type": json.loads(image.root.data).get("mediaType"),
    }


def make_large_images(rng: Random) -> list[Image]:
    """Make a few images of some MiB each, which share a layer and a repository or two: work enough to be killed in."""
    shared = rng.randbytes(rng.randint(1 * MIB, 2 * MIB))
    made = []
    for number in range(rng.randint(2, 3)):
        layers = [shared, rng.randbytes(rng.randint(1 * MIB, 3 * MIB)), rng.randbytes(rng.randint(0, 64 * KIB))]
        made.append(Image(rng.choice(["a/app", "a/b/tool"]), f"v{number}", image_manifest(list(layers))))
    return [*made, _index(rng, "a/app", "all", [shared], 512 * KIB, nested=False)]
