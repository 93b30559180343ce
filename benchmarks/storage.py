"""What a registry has stored, written straight into its folder: thousands of images in a second or two."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.copy_job import Image
from testkit.images.documents import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST

CHUNK = 1 << 20

# The head of a gzip file: a client that looks for one, to compress what is not yet compressed, finds it.
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


@dataclass
class Stored:
    """What is in a storage folder: each tag's digest by repository, the bytes of all blobs, and the last image."""

    folder: Path
    digests: dict[str, dict[str, str]] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)
    size: int = 0
    last: Image | None = None

    @property
    def images(self) -> int:
        """How many tags there are."""
        return sum(map(len, self.digests.values()))


class Storage:
    """Writes the layout of docker/distribution's filesystem driver."""

    def __init__(self, folder: Path) -> None:
        self.stored = Stored(folder)
        self._root = folder / "docker" / "registry" / "v2"

    def layer(self, name: str, size: int) -> dict[str, Any]:
        """Store a layer of random bytes, which depend on its name alone, and describe it."""
        return self._blob(OCI_LAYER, _random_bytes(name, size))

    def image(self, repository: str, tag: str, layers: list[dict[str, Any]]) -> None:
        """Store an image of such layers under a tag."""
        rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}
        platform = {"os": "linux", "architecture": "amd64"}
        text = json.dumps({**platform, "config": {"Labels": {"image": f"{repository}:{tag}"}}, "rootfs": rootfs})
        config = self._blob(OCI_CONFIG, [text.encode()])
        content = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
        manifest = self._blob(OCI_MANIFEST, [json.dumps(content).encode()])["digest"]
        place = self._root / "repositories" / repository
        for blob in (config, *layers):
            _link(place / "_layers", blob["digest"])
        _link(place / "_manifests" / "revisions", manifest)
        _link(place / "_manifests" / "tags" / tag / "index", manifest)
        current = place / "_manifests" / "tags" / tag / "current"
        current.mkdir(parents=True)
        (current / "link").write_text(manifest)
        self.stored.digests.setdefault(repository, {})[tag] = manifest
        blobs = tuple(blob["digest"] for blob in (config, *layers))
        self.stored.last = Image(repository, tag, OCI_MANIFEST, blobs)

    def _blob(self, media_type: str, chunks: Iterable[bytes]) -> dict[str, Any]:
        held = self._root / "blobs" / "sha256"
        held.mkdir(parents=True, exist_ok=True)
        hashed, size, written = hashlib.sha256(), 0, held / "written"
        with written.open("wb") as file:
            for chunk in chunks:
                hashed.update(chunk)
                size += file.write(chunk)
        digest = hashed.hexdigest()
        place = held / digest[:2] / digest
        place.mkdir(parents=True, exist_ok=True)
        written.rename(place / "data")
        if digest not in self.stored.blobs:
            self.stored.blobs.add(digest)
            self.stored.size += size
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def _link(folder: Path, digest: str) -> None:
    place = folder / "sha256" / digest.removeprefix("sha256:")
    place.mkdir(parents=True, exist_ok=True)
    (place / "link").write_text(digest)


def _random_bytes(name: str, size: int) -> Iterator[bytes]:
    source = random.Random(name)
    yield GZIP_HEAD[:size]
    left = size - len(GZIP_HEAD)
    while left > 0:
        chunk = source.randbytes(min(left, CHUNK))
        left -= len(chunk)
        yield chunk
