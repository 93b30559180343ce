"""An image without the platforms that are not wanted."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from imageferry.copy.tree import children, read_child
from imageferry.reference import check_digest
from imageferry.registry import Manifest, Repository
from imageferry.registry.errors import BadAnswer
from imageferry.registry.manifests import INDEX_TYPES, MANIFEST_LIMIT, SCHEMA1_TYPES
from imageferry.selection import PlatformFilter

#: Config blobs that say a platform; those of other artifacts do not.
CONFIG_TYPES = frozenset({"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"})


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is left of an image: its root (None: nothing), and the indexes made anew, by digest."""

    root: Manifest | None
    made: dict[str, Manifest] = field(default_factory=dict)


async def choose(manifest: Manifest, source: Repository, wanted: PlatformFilter) -> Chosen:
    """Leave out what the filter does not take.

    An index keeps the children that match, in their order, and an index within it likewise; where nothing is left
    out, it stays the bytes that it was. A single image is judged by its config blob. Raises ``RegistryError``.
    """
    if not wanted:
        return Chosen(manifest)
    made: dict[str, Manifest] = {}
    if manifest.is_index:
        return Chosen(await _choose_children(manifest, source, wanted, made, depth=0), made)
    return Chosen(manifest if wanted.takes(await _platform(manifest, source)) else None)


async def _choose_children(
    index: Manifest, source: Repository, wanted: PlatformFilter, made: dict[str, Manifest], depth: int
) -> Manifest | None:
    kept: list[dict[str, Any]] = []
    for entry in children(index, depth):
        if not wanted.takes(entry.get("platform")):
            continue
        if entry.get("mediaType") not in INDEX_TYPES:
            kept.append(entry)
            continue
        inner = await read_child(source, entry)
        left = await _choose_children(inner, source, wanted, made, depth + 1)
        if left is inner:
            kept.append(entry)
        elif left is not None:
            kept.append({**entry, "digest": left.digest, "size": len(left.body)})
    if kept == index.document["manifests"]:
        return index
    if not kept:
        return None
    body = json.dumps({**index.document, "manifests": kept}, separators=(",", ":"), ensure_ascii=False).encode()
    left = Manifest.of(body, index.media_type)
    made[left.digest] = left
    return left


async def _platform(manifest: Manifest, source: Repository) -> dict[str, Any] | None:
    """Give the platform of a single image from its config blob, or from a schema 1 manifest's history."""
    document = manifest.document
    try:
        if manifest.media_type in SCHEMA1_TYPES:
            platform = json.loads(document["history"][0]["v1Compatibility"])
            platform.setdefault("architecture", document.get("architecture"))
        else:
            config = document["config"]
            if config["mediaType"] not in CONFIG_TYPES:
                return None
            platform = json.loads(await source.blobs.read(check_digest(config["digest"]), MANIFEST_LIMIT))
    except (KeyError, IndexError, TypeError, ValueError, RecursionError):
        platform = None
    if not isinstance(platform, dict):
        raise BadAnswer(f"read the platform of {source.name}@{manifest.digest}", "its config names none")
    return platform
