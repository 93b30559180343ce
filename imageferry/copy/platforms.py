"""Filtering an image by platform."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from imageferry.copy.manifest_contents import children, read_child
from imageferry.reference import check_digest
from imageferry.registry import Manifest, Repository
from imageferry.registry.errors import InvalidResponse
from imageferry.registry.manifest import INDEX_TYPES, MANIFEST_LIMIT, SCHEMA1_TYPES
from imageferry.selection import PlatformFilter

# Config blobs that say a platform; those of other artifacts do not.
CONFIG_TYPES = frozenset({"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"})


@dataclass(frozen=True, slots=True)
class FilteredImage:
    """What is left of an image: its root (None for nothing), and the indexes that were rewritten, by digest."""

    root: Manifest | None
    rewritten: dict[str, Manifest] = field(default_factory=dict)


async def filter_platforms(manifest: Manifest, source: Repository, wanted: PlatformFilter) -> FilteredImage:
    """Return the image without the platforms that the filter leaves out.

    An index keeps the children that match, in their order, and an index within it likewise; where nothing is left
    out, its bytes stay as they are. A single image is judged by its config blob. Raises ``RegistryError``.
    """
    if not wanted:
        return FilteredImage(manifest)
    if manifest.is_index:
        filtering = _IndexFilter(source, wanted)
        return FilteredImage(await filtering.rebuild_index(manifest, depth=0), filtering.rewritten)
    return FilteredImage(manifest if wanted.takes(await _platform(manifest, source)) else None)


class _IndexFilter:
    """One image that is being filtered. An index that others name again is read and judged once."""

    def __init__(self, source: Repository, wanted: PlatformFilter) -> None:
        self.rewritten: dict[str, Manifest] = {}
        self._source = source
        self._wanted = wanted
        self._rebuilt: dict[str, Manifest | None] = {}

    async def rebuild_index(self, index: Manifest, depth: int) -> Manifest | None:
        """Return the index itself, a rewritten one, or None where nothing is left of it."""
        kept: list[dict[str, Any]] = []
        entries = children(index, depth)
        for entry in entries:
            if not self._wanted.takes(entry.get("platform")):
                continue
            if entry.get("mediaType") not in INDEX_TYPES:
                kept.append(entry)
                continue
            left = await self._rebuild_child(entry, depth + 1)
            if left is not None and left.digest == entry["digest"]:
                kept.append(entry)
            elif left is not None:
                kept.append({**entry, "digest": left.digest, "size": len(left.body)})
        if len(kept) == len(entries) and all(new is old for new, old in zip(kept, entries, strict=True)):
            return index
        if not kept:
            return None
        # In ASCII: the escapes of a hostile index may stand for what no encoding can write (lone surrogates).
        try:
            body = json.dumps({**index.document, "manifests": kept}, separators=(",", ":")).encode()
        except RecursionError:
            raise InvalidResponse(f"filter index {index.digest}", "it is nested too deep to be written anew") from None
        rewritten = Manifest.of(body, index.media_type)
        self.rewritten[rewritten.digest] = rewritten
        return rewritten

    async def _rebuild_child(self, entry: dict[str, Any], depth: int) -> Manifest | None:
        digest = entry["digest"]
        if digest not in self._rebuilt:
            self._rebuilt[digest] = await self.rebuild_index(await read_child(self._source, entry), depth)
        return self._rebuilt[digest]


async def _platform(manifest: Manifest, source: Repository) -> dict[str, Any] | None:
    """Return the platform of a single image from its config blob, or from a schema 1 manifest's history."""
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
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError):
        platform = None
    if not isinstance(platform, dict):
        raise InvalidResponse(f"read the platform of {source.name}@{manifest.digest}", "its config names none")
    return platform
