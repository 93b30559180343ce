"""An image without the platforms that are not wanted."""

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

#: Config blobs that say a platform; those of other artifacts do not.
CONFIG_TYPES = frozenset({"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"})


@dataclass(frozen=True, slots=True)
class FilteredImage:
    """What is left of an image: its root (None: nothing), and the indexes made anew, by digest."""

    root: Manifest | None
    made: dict[str, Manifest] = field(default_factory=dict)


async def filter_platforms(manifest: Manifest, source: Repository, wanted: PlatformFilter) -> FilteredImage:
    """Leave out what the filter does not take.

    An index keeps the children that match, in their order, and an index within it likewise; where nothing is left
    out, it stays the bytes that it was. A single image is judged by its config blob. Raises ``RegistryError``.
    """
    if not wanted:
        return FilteredImage(manifest)
    if manifest.is_index:
        choosing = _IndexFilter(source, wanted)
        return FilteredImage(await choosing.left_of(manifest, depth=0), choosing.made)
    return FilteredImage(manifest if wanted.takes(await _platform(manifest, source)) else None)


class _IndexFilter:
    """One image that is being filtered. An index that others name again is read and judged once."""

    def __init__(self, source: Repository, wanted: PlatformFilter) -> None:
        self.made: dict[str, Manifest] = {}
        self._source = source
        self._wanted = wanted
        self._left: dict[str, Manifest | None] = {}

    async def left_of(self, index: Manifest, depth: int) -> Manifest | None:
        """Give the index itself, one made anew, or None where nothing is left of it."""
        kept: list[dict[str, Any]] = []
        entries = children(index, depth)
        for entry in entries:
            if not self._wanted.takes(entry.get("platform")):
                continue
            if entry.get("mediaType") not in INDEX_TYPES:
                kept.append(entry)
                continue
            left = await self._left_of_entry(entry, depth + 1)
            if left is not None and left.digest == entry["digest"]:
                kept.append(entry)
            elif left is not None:
                kept.append({**entry, "digest": left.digest, "size": len(left.body)})
        if len(kept) == len(entries) and all(left is was for left, was in zip(kept, entries, strict=True)):
            return index
        if not kept:
            return None
        # In ASCII: what a hostile index escapes may be no text at all.
        try:
            body = json.dumps({**index.document, "manifests": kept}, separators=(",", ":")).encode()
        except RecursionError:
            raise InvalidResponse(f"filter index {index.digest}", "it is nested too deep to be written anew") from None
        made = Manifest.of(body, index.media_type)
        self.made[made.digest] = made
        return made

    async def _left_of_entry(self, entry: dict[str, Any], depth: int) -> Manifest | None:
        digest = entry["digest"]
        if digest not in self._left:
            self._left[digest] = await self.left_of(await read_child(self._source, entry), depth)
        return self._left[digest]


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
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError):
        platform = None
    if not isinstance(platform, dict):
        raise InvalidResponse(f"read the platform of {source.name}@{manifest.digest}", "its config names none")
    return platform
