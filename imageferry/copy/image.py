"""One image to its destinations: blobs first, then the manifests that name them, the tag last."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from imageferry.concurrency import for_each
from imageferry.copy import manifest_contents
from imageferry.copy.errors import DeliveryError
from imageferry.copy.manifest_contents import MANIFEST_TYPES, blobs, children, descriptor, foreign_layers, read_child
from imageferry.copy.platforms import FilteredImage, filter_platforms
from imageferry.errors import ImageferryError
from imageferry.reference import Reference
from imageferry.registry import Descriptor, Manifest, Repository
from imageferry.registry.errors import InvalidResponse, NotFound
from imageferry.report.outcomes import ImageOutcome, Outcome

if TYPE_CHECKING:
    from imageferry.copy.engine import Engine
    from imageferry.copy.job import CopyJob

#: Children and blobs of one image that are dealt with at the same time.
CONTENTS_AT_ONCE = 16


async def copy_image(engine: Engine, work: CopyJob) -> None:
    """Copy one image to the destinations of ``work`` that do not have it yet, and note the outcome of each.

    Raises ``DeliveryError`` for the destinations that failed; nothing is noted for these, so that the work can be
    done again for them alone.
    """
    begun = time.monotonic()
    remaining = [place for place in work.destinations if place not in work.finished]
    try:
        source = await engine.source(work.source)
        root = await source.manifests.get(work.source.target)
        chosen = await filter_platforms(root, source, work.platforms)
    except ImageferryError as error:
        raise DeliveryError(f"image {work.source}", {str(place): error for place in remaining}) from None
    if chosen.root is None:
        for place in remaining:
            engine.settle(work, place, ImageOutcome(source=work.name, destination=str(place), outcome=Outcome.SKIPPED))
        return
    placing = _ImageCopy(engine, source, chosen)
    await placing.open(remaining)
    places = placing.alive()
    await placing.place(chosen.root, 0, places)
    await asyncio.gather(*(placing.name(chosen.root, place) for place in remaining if str(place) in placing.alive()))
    for place in remaining:
        if (key := str(place)) in placing.alive():
            outcome = ImageOutcome(
                source=work.name,
                destination=str(placing.named[key]),
                outcome=Outcome.COPIED,
                digest=chosen.root.digest,
                bytes=placing.sent[key],
                seconds=round(time.monotonic() - begun, 3),
            )
            engine.settle(work, place, outcome)
    if placing.failures:
        raise DeliveryError(f"image {work.source}", placing.failures)


class _ImageCopy:
    """An image on its way. A destination that fails drops out, and the others go on."""

    def __init__(self, engine: Engine, source: Repository, chosen: FilteredImage) -> None:
        self._ferry = engine
        self._source = source
        self._made = chosen.made
        self._read = 0
        self._places: dict[str, Repository] = {}
        self.failures: dict[str, ImageferryError] = {}
        self.sent: defaultdict[str, int] = defaultdict(int)
        self.named: dict[str, Reference] = {}

    async def open(self, destinations: Iterable[Reference]) -> None:
        """Open the destinations; one that cannot be opened has failed."""
        for place in destinations:
            try:
                self._places[str(place)] = await self._ferry.destination(place)
            except ImageferryError as error:
                self._fail([str(place)], error)

    def alive(self, keys: Iterable[str] | None = None) -> list[str]:
        """Give the destinations that have not failed."""
        return [key for key in (self._places if keys is None else keys) if key not in self.failures]

    async def place(self, manifest: Manifest, depth: int, keys: list[str]) -> None:
        """See that all that the manifest names is at its destinations."""
        try:
            if manifest.is_index:
                entries = children(manifest, depth)
                await for_each(
                    entries, CONTENTS_AT_ONCE, lambda entry: self._place_entry(manifest, entry, depth + 1, keys)
                )
            else:
                await for_each(blobs(manifest), CONTENTS_AT_ONCE, lambda blob: self._deliver(blob, keys))
                await for_each(
                    foreign_layers(manifest), CONTENTS_AT_ONCE, lambda layer: self._deliver_foreign(layer, keys)
                )
        except ImageferryError as error:
            # What cannot be read fails every destination that needs it.
            self._fail(keys, error)

    async def name(self, root: Manifest, place: Reference) -> None:
        """Put the image's own manifest, under its tag or its digest: the last step."""
        key = str(place)
        target = place.tag or root.digest
        self.named[key] = place if place.tag else place.at(root.digest)
        await self._put(root, target, key)

    async def _place_entry(self, index: Manifest, entry: dict[str, Any], depth: int, keys: list[str]) -> None:
        child = descriptor(index, entry)
        async with self._ferry.manifest_lock(child.digest):
            lacking = [key for key in self.alive(keys) if not await self._has(key, child.digest)]
            if not lacking:
                return
            self._read += 1
            if self._read > manifest_contents.MANIFESTS_LIMIT:
                reason = f"it has more than {manifest_contents.MANIFESTS_LIMIT:,} manifests"
                raise InvalidResponse(f"copy manifest {index.digest}", reason, advice="the image is damaged or hostile")
            try:
                manifest = self._made.get(child.digest) or await read_child(self._source, entry)
            except NotFound:
                if entry.get("mediaType") in MANIFEST_TYPES:
                    raise
                # An index may name content that is no manifest.
                await self._deliver(child, lacking)
                return
            await self.place(manifest, depth, lacking)
            await asyncio.gather(*(self._put(manifest, child.digest, key) for key in self.alive(lacking)))

    async def _deliver(self, blob: Descriptor, keys: list[str]) -> None:
        places = {self._places[key].name: key for key in self.alive(keys)}
        wanted = [self._places[key] for key in places.values()]
        delivered = await self._ferry.deliveries.deliver(blob, self._source, wanted)
        for name in delivered.sent_to:
            self.sent[places[name]] += max(blob.size, 0)
        for name, error in delivered.failures.items():
            self._fail([key for key in keys if self._places[key].name == name], error)

    async def _deliver_foreign(self, layer: Descriptor, keys: list[str]) -> None:
        """Bring a layer that need not be distributed to the registries that are to have it, if the source holds it."""
        settings_of = self._ferry.configuration.settings_of
        wanted = [key for key in self.alive(keys) if settings_of(self._places[key].registry).foreign_layers]
        if wanted and await self._source.blobs.exists(layer.digest):
            await self._deliver(layer, wanted)

    async def _has(self, key: str, digest: str) -> bool:
        """Whether the destination has a manifest, and with it all that it names."""
        place, holdings = self._places[key], self._ferry.holdings
        if holdings.has_manifest(place, digest):
            return True
        if self._ferry.options.force or holdings.was_empty(place):
            return False
        try:
            there = await place.manifests.head(digest) is not None
        except ImageferryError as error:
            if error.transient:
                self._fail([key], error)
            return False
        if there:
            holdings.add_manifest(place, digest)
        return there

    async def _put(self, manifest: Manifest, target: str, key: str) -> None:
        place = self._places[key]
        try:
            await place.manifests.put(target, manifest)
        except ImageferryError as error:
            self._fail([key], error)
        else:
            self._ferry.holdings.add_manifest(place, manifest.digest)
            self.sent[key] += len(manifest.body)

    def _fail(self, keys: Iterable[str], error: ImageferryError) -> None:
        for key in keys:
            self.failures.setdefault(key, error)
