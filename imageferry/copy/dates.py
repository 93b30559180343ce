"""When images were made, by what they say of themselves: for policies that choose tags by their age."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from imageferry.concurrency import for_each
from imageferry.copy.manifest_budget import ManifestBudget, ManifestReader
from imageferry.copy.manifest_contents import descriptor, entries
from imageferry.copy.platforms import read_config
from imageferry.copy.registries import Registries
from imageferry.newest import parse_date
from imageferry.reference import Reference
from imageferry.registry import Manifest, Repository
from imageferry.registry.errors import DigestMismatch, InvalidResponse, NotFound
from imageferry.registry.manifest import MANIFEST_LIMIT, SCHEMA1_TYPES, MalformedDocument, read_document

# Images that are looked at at the same time; the registries' own limits lie below.
IMAGES_DATED_AT_ONCE = 16

# The annotation in which an image without a config says when it was made (image specification, "Annotations").
CREATED = "org.opencontainers.image.created"


class Dates:
    """The dates of images. Each costs the GET of its manifest and of its config; of an index, that of a child too.

    What was read is remembered by digest: manifests that several tags or indexes share are asked for once.
    """

    def __init__(self, registries: Registries) -> None:
        self._registries = registries
        self._budget = ManifestBudget(IMAGES_DATED_AT_ONCE)
        self._dates: dict[Reference, datetime | None] = {}
        self._by_digest: dict[str, datetime | None] = {}
        # Of repositories and of digests: what is being asked for is not asked for again.
        self._locks = defaultdict[str, asyncio.Lock](asyncio.Lock)

    async def of(self, repository: Reference, images: Mapping[str, Reference]) -> dict[str, datetime]:
        """Return when the images of a repository were made, by the names that they have in ``images``.

        Those that do not say it are left out. Raises ``ImageferryError`` where a registry does not answer: what cannot
        be judged now is no old image.
        """

        async def find(image: Reference) -> None:
            self._dates[image] = await self._budget.spend(image, lambda reader: self._read_tag(image, reader))

        async with self._locks[repository.name]:
            unknown = [image for image in images.values() if image not in self._dates]
            await for_each(unknown, IMAGES_DATED_AT_ONCE, find)
        found = ((name, self._dates[image]) for name, image in images.items())
        return {name: date for name, date in found if date is not None}

    def forget(self, names: Iterable[str]) -> None:
        """Forget which images the tags of these repositories were: a rule of this run has written to them."""
        forgotten = set(names)
        for reference in [each for each in self._dates if each.name in forgotten]:
            del self._dates[reference]

    async def _read_tag(self, image: Reference, reader: ManifestReader) -> datetime | None:
        repository = await self._registries.source(image)
        try:
            manifest = await reader.read(repository, image.target)
            async with self._locks[manifest.digest]:
                return await self._read(manifest, repository, reader, depth=0)
        except (NotFound, InvalidResponse, DigestMismatch):
            # What is wrong with it is reported when it is copied.
            return None

    async def _read_child(
        self, digest: str, repository: Repository, reader: ManifestReader, depth: int
    ) -> datetime | None:
        async with self._locks[digest]:
            if digest in self._by_digest:
                return self._by_digest[digest]
            return await self._read(await reader.read(repository, digest), repository, reader, depth)

    async def _read(
        self, manifest: Manifest, repository: Repository, reader: ManifestReader, depth: int
    ) -> datetime | None:
        """Return when an image was made; None where it does not say it. Raises ``ImageferryError``."""
        if manifest.digest not in self._by_digest:
            with reader.hold(manifest):
                date = await self._date_of(manifest, repository, reader, depth)
            self._by_digest[manifest.digest] = date
        return self._by_digest[manifest.digest]

    async def _date_of(
        self, manifest: Manifest, repository: Repository, reader: ManifestReader, depth: int
    ) -> datetime | None:
        if manifest.is_index:
            child = _first_image(entries(manifest, depth))
            date = await self._read_child(child, repository, reader, depth + 1) if child else None
        else:
            date = _created_in(await _read_origin(manifest, repository))
        return date or _annotated(manifest.parse())


def _first_image(found: list[dict[str, Any]]) -> str | None:
    """Return the digest of the first child that is an image: BuildKit's attestations have no platform."""
    images = (entry for entry in found if (entry.get("platform") or {}).get("os") != "unknown")
    first = next(images, None)
    return None if first is None else str(first["digest"])


async def _read_origin(manifest: Manifest, repository: Repository) -> bytes:
    """Return the document that says when an image was made: its config, or what its first layer says in schema 1."""
    document = manifest.parse()
    if manifest.media_type in SCHEMA1_TYPES:
        try:
            origin: str = document["history"][0]["v1Compatibility"]
            return origin.encode("utf-8", "replace")
        except (KeyError, IndexError, TypeError, AttributeError):
            return b""
    if document.get("config") is None:
        return b""
    config = descriptor(manifest, document["config"])
    # The size of the empty document, which says nothing.
    return await read_config(config, repository) if 2 < config.size <= MANIFEST_LIMIT else b""


def _created_in(content: bytes) -> datetime | None:
    try:
        created = read_document(content).get("created")
    except MalformedDocument:
        return None
    return parse_date(created) if isinstance(created, str) else None


def _annotated(document: Mapping[str, Any]) -> datetime | None:
    annotations = document.get("annotations")
    created = annotations.get(CREATED) if isinstance(annotations, dict) else None
    return parse_date(created) if isinstance(created, str) else None
