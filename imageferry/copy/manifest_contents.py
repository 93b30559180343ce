"""What a manifest names: other manifests and blobs, checked before any of them is requested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imageferry.errors import InvalidReference
from imageferry.reference import check_digest
from imageferry.registry import Descriptor, Manifest
from imageferry.registry.errors import InvalidResponse
from imageferry.registry.manifest import SCHEMA1_TYPES
from imageferry.text import shorten_repr

# Indexes within indexes, and entries of one manifest: more are an attack rather than an image.
DEPTH_LIMIT = 8
ENTRIES_LIMIT = 10_000

# Manifests of one image: indexes of indexes could name others without end.
MANIFESTS_LIMIT = 20_000

# The largest blob, in bytes: 1 TiB, beyond what any registry takes.
BLOB_LIMIT = 1 << 40


def entries(index: Manifest, depth: int) -> list[dict[str, Any]]:
    """Return the entries of an index as they are written, each with a valid digest and size.

    They may take many times the memory of the index: they must not be kept. ``depth`` is in how many indexes it is
    nested. Raises ``InvalidResponse`` for a document that is no index, one nested too deep, and one with too many
    entries.
    """
    if depth >= DEPTH_LIMIT:
        raise _bad(index, f"it is {depth} indexes deep")
    found = _list(index, index.parse(), "manifests")
    for entry in found:
        descriptor(index, entry)
        if not isinstance(entry.get("platform"), dict | None):
            raise _bad(index, f"an entry has the platform {shorten_repr(entry['platform'])}")
    return found


def children(index: Manifest, depth: int) -> list[Descriptor]:
    """Return the descriptors of what an index names: see ``entries``."""
    return [descriptor(index, entry) for entry in entries(index, depth)]


def blobs(manifest: Manifest) -> list[Descriptor]:
    """Return the blobs that a manifest names, each once: config and layers, or an artifact's blobs.

    Those of ``foreign_layers`` are not among them. Raises ``InvalidResponse``.
    """
    document = manifest.parse()
    if manifest.media_type in SCHEMA1_TYPES:
        # Schema 1 states no sizes: they are asked for when the blob is read.
        found = [Descriptor("", _blob_sum(manifest, entry), -1) for entry in _list(manifest, document, "fsLayers")]
    else:
        config = [document["config"]] if document.get("config") is not None else []
        named = [*config, *_list(manifest, document, "layers"), *_list(manifest, document, "blobs")]
        found = [descriptor(manifest, entry) for entry in named if not _is_foreign(entry)]
    return list({blob.digest: blob for blob in found}.values())


def foreign_layers(manifest: Manifest) -> list[Descriptor]:
    """Return the layers that need not be distributed, since others offer them for download: Windows' base layers.

    (OCI image specification, "Non-Distributable Layers".) Raises ``InvalidResponse``.
    """
    if manifest.media_type in SCHEMA1_TYPES:
        return []
    layers = _list(manifest, manifest.parse(), "layers")
    found = [descriptor(manifest, entry) for entry in layers if _is_foreign(entry)]
    return list({blob.digest: blob for blob in found}.values())


def descriptor(manifest: Manifest, entry: Any) -> Descriptor:
    """Return one entry of a manifest as a descriptor. Raises ``InvalidResponse``."""
    if not isinstance(entry, dict):
        raise _bad(manifest, "an entry is not a descriptor")
    size = entry.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= BLOB_LIMIT:
        raise _bad(manifest, f"an entry has the size {shorten_repr(size)}")
    media_type = entry.get("mediaType")
    if media_type is None:
        media_type = ""
    if not isinstance(media_type, str):
        raise _bad(manifest, f"an entry has the media type {shorten_repr(media_type)}")
    return Descriptor(media_type, _digest(manifest, entry.get("digest")), size)


def _is_foreign(entry: Any) -> bool:
    if not isinstance(entry, dict) or not entry.get("urls"):
        # One without an address elsewhere is copied: without it the manifest would be refused.
        return False
    media_type = entry.get("mediaType")
    return isinstance(media_type, str) and ("foreign" in media_type or "nondistributable" in media_type)


def _list(manifest: Manifest, document: Mapping[str, Any], key: str) -> list[Any]:
    found = document.get(key) or []
    if not isinstance(found, list):
        raise _bad(manifest, f"its {key} is not a list")
    if len(found) > ENTRIES_LIMIT:
        raise _bad(manifest, f"it has {len(found):,} {key}")
    return found


def _blob_sum(manifest: Manifest, entry: Any) -> str:
    if not isinstance(entry, dict):
        raise _bad(manifest, "an entry of fsLayers is not a mapping with a blobSum")
    return _digest(manifest, entry.get("blobSum"))


def _digest(manifest: Manifest, digest: Any) -> str:
    try:
        return check_digest(digest if isinstance(digest, str) else shorten_repr(digest))
    except InvalidReference as error:
        raise _bad(manifest, str(error)) from None


def _bad(manifest: Manifest, reason: str) -> InvalidResponse:
    return InvalidResponse(f"copy manifest {manifest.name}", reason, advice="the image is damaged or hostile")
