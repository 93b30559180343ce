"""Filtering an image by platform."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imageferry.copy.manifest_budget import ManifestReader
from imageferry.copy.manifest_contents import descriptor, entries
from imageferry.registry import Descriptor, Manifest, Repository
from imageferry.registry.errors import DigestMismatch, InvalidResponse, NotFound
from imageferry.registry.manifest import (
    INDEX_TYPES,
    MANIFEST_LIMIT,
    OCI_ARTIFACT,
    SCHEMA1_TYPES,
    UNSPECIFIC_TYPES,
    MalformedDocument,
    digest_of,
    read_document,
)
from imageferry.selection import PlatformFilter

# Config blobs of images. Those of other types may say a platform too, as those of WebAssembly do.
CONFIG_TYPES = frozenset({"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"})
EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"

_PLATFORM_KEYS = ("os", "os.version", "architecture", "variant")

# What the media types of an image's layers have in them: OCI's, and Docker's.
_LAYER_TYPES = ("image.layer", "image.rootfs")


@dataclass(frozen=True, slots=True)
class FilteredImage:
    """What is left of an image: its root (None for nothing), and the indexes that were rewritten, by digest."""

    root: Manifest | None
    rewritten: dict[str, Manifest] = field(default_factory=dict)


async def filter_platforms(
    manifest: Manifest, source: Repository, wanted: PlatformFilter, reader: ManifestReader | None = None
) -> FilteredImage:
    """Return the image without the platforms that the filter leaves out.

    An index keeps the children that match, in their order, and an index within it likewise; where nothing is left
    out, its bytes stay as they are. A single image is judged by its config blob. Raises ``RegistryError``.
    """
    if not wanted:
        return FilteredImage(manifest)
    reader = reader or ManifestReader()
    if manifest.is_index:
        filtering = _IndexFilter(source, wanted, reader)
        return FilteredImage(await filtering.rebuild_index(manifest, depth=0), filtering.rewritten)
    platform = await _read_platform(manifest, source)
    return FilteredImage(manifest if wanted.takes(platform) else None)


class _IndexFilter:
    """One image that is being filtered. An index that others name again is read and judged once."""

    def __init__(self, source: Repository, wanted: PlatformFilter, reader: ManifestReader) -> None:
        self.rewritten: dict[str, Manifest] = {}
        self._source = source
        self._wanted = wanted
        self._reader = reader
        # What each child that was read became, by its digest: None for nothing, its own digest where it stays.
        self._rebuilt: dict[str, Descriptor | None] = {}

    async def rebuild_index(self, index: Manifest, depth: int) -> Manifest | None:
        """Return the index itself, a rewritten one, or None where nothing is left of it."""
        judged = [self._judge(index, entry) for entry in entries(index, depth)]
        kept: dict[int, Descriptor] = {}
        for number, (child, may_be_index) in enumerate(judged):
            if child is not None:
                left = await self._rebuild_child(child, depth + 1) if may_be_index else child
                if left is not None:
                    kept[number] = left
        if all(child is not None and kept.get(number) == child for number, (child, _) in enumerate(judged)):
            return index
        return self._rewrite(index, kept) if kept else None

    def _judge(self, index: Manifest, entry: dict[str, Any]) -> tuple[Descriptor | None, bool]:
        """Return a child if the filter takes it, else None; and whether it may be an index, to be filtered itself."""
        child = descriptor(index, entry)
        platform = entry.get("platform")
        if not self._wanted.takes(platform):
            return None, False
        return child, child.media_type in INDEX_TYPES or (platform is None and child.media_type in UNSPECIFIC_TYPES)

    def _rewrite(self, index: Manifest, kept: Mapping[int, Descriptor]) -> Manifest:
        """Return the index with what is kept of its entries, by their numbers, under the digests that they have now."""
        document = index.parse()
        left = []
        for number, child in kept.items():
            entry = document["manifests"][number]
            changed = child.digest != entry["digest"]
            left.append({**entry, "digest": child.digest, "size": child.size} if changed else entry)
        # In ASCII: the escapes of a hostile index may stand for what no encoding can write (lone surrogates).
        try:
            body = json.dumps({**document, "manifests": left}, separators=(",", ":")).encode()
        except RecursionError:
            raise InvalidResponse(f"filter index {index.name}", "it is nested too deep to be written anew") from None
        rewritten = Manifest.of(body, index.media_type, repository=index.repository)
        if rewritten.digest not in self.rewritten:
            self._reader.keep(rewritten)
            self.rewritten[rewritten.digest] = rewritten
        return rewritten

    async def _rebuild_child(self, child: Descriptor, depth: int) -> Descriptor | None:
        """Return what is left of a child: itself, a rewritten index, or None."""
        if child.digest not in self._rebuilt:
            self._rebuilt[child.digest] = await self._rebuild(child, depth)
        left = self._rebuilt[child.digest]
        # Entries of one digest may differ otherwise: each that stays, stays as it is.
        return child if left is not None and left.digest == child.digest else left

    async def _rebuild(self, child: Descriptor, depth: int) -> Descriptor | None:
        try:
            manifest = await self._reader.read(self._source, child.digest)
        except NotFound:
            if child.media_type in INDEX_TYPES:
                raise
            # An index may name content that is no manifest.
            return child
        if not manifest.is_index:
            return child
        with self._reader.hold(manifest):
            left = await self.rebuild_index(manifest, depth)
        return left.descriptor if left is not None else None


async def _read_platform(manifest: Manifest, source: Repository) -> dict[str, Any] | None:
    """Return the platform of a single image from its config blob, or from a schema 1 manifest's history.

    None for an artifact, whose config need not name one. Raises ``InvalidResponse`` for an image whose does not.
    """
    document = manifest.parse()
    if manifest.media_type in SCHEMA1_TYPES:
        found = _platform_in_history(document)
    else:
        config, is_artifact = document.get("config"), _is_artifact(manifest.media_type, document)
        if is_artifact and (config is None or _media_type_of(config) == EMPTY_CONFIG):
            return None
        named = descriptor(manifest, config)
        # While the config is waited for, what else the document says takes no memory.
        del document, config
        if is_artifact and named.size > MANIFEST_LIMIT:
            return None
        found = _platform_in(await read_config(named, source))
        if is_artifact and (found is None or not found.keys() & {"os", "architecture"}):
            return None
    if found is None:
        reason = "its config names none, so the filter cannot judge it"
        raise InvalidResponse(f"read the platform of {manifest.name}", reason)
    return found


async def read_config(config: Descriptor, source: Repository) -> bytes:
    """Return the bytes of a config blob, which hash to its digest. Raises ``RegistryError``."""
    content = await source.blobs.read(config.digest, MANIFEST_LIMIT)
    if digest_of(content, config.digest.partition(":")[0]) != config.digest:
        action = f"read config {config.digest} of {source.name}"
        advice = "the source's storage is damaged: push the image there again"
        raise DigestMismatch(action, "its bytes do not hash to its digest", advice=advice)
    return content


def _is_artifact(media_type: str, document: Mapping[str, Any]) -> bool:
    """Return whether this is no image: neither its config nor a layer has a type of images, or it says so itself."""
    config_type = _media_type_of(document.get("config"))
    if config_type in CONFIG_TYPES:
        return False
    if media_type == OCI_ARTIFACT or config_type == EMPTY_CONFIG or document.get("artifactType"):
        return True
    layers = document.get("layers")
    types = [_media_type_of(layer) for layer in layers] if isinstance(layers, list) else []
    return not any(part in each for each in types for part in _LAYER_TYPES)


def _media_type_of(entry: Any) -> str:
    media_type = entry.get("mediaType") if isinstance(entry, dict) else None
    return media_type if isinstance(media_type, str) else ""


def _platform_in(config: bytes) -> dict[str, Any] | None:
    """Return the platform that a config blob names; None if it is not a JSON object."""
    try:
        content = read_document(config)
    except MalformedDocument:
        return None
    return {
        key: content[key]
        for key in ("os", "os.version", "architecture", "variant")
        if isinstance(content.get(key), str)
    }


def _platform_in_history(document: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        found = _platform_in(document["history"][0]["v1Compatibility"].encode("utf-8", "replace"))
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    architecture = document.get("architecture")
    return found if found is None or not architecture else {"architecture": architecture, **found}
