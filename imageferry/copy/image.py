"""One image to its destinations: blobs first, then the manifests that name them, the tag last."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from imageferry.concurrency import for_each
from imageferry.copy import manifest_contents
from imageferry.copy.blobs import BlobDistributor
from imageferry.copy.errors import DeliveryError, as_expected
from imageferry.copy.job import CopyJob
from imageferry.copy.known_contents import KnownContents
from imageferry.copy.manifest_contents import MANIFEST_TYPES, blobs, children, descriptor, foreign_layers, read_child
from imageferry.copy.options import Options
from imageferry.copy.platforms import FilteredImage, filter_platforms
from imageferry.copy.registries import Registries
from imageferry.copy.results import Results
from imageferry.errors import ImageferryError
from imageferry.reference import Reference
from imageferry.registry import Descriptor, Manifest, Repository
from imageferry.registry.errors import InvalidResponse, NotFound
from imageferry.report.outcomes import ImageOutcome, Outcome

# Children and blobs of one image that are copied at the same time.
CONTENTS_AT_ONCE = 16


class ImageCopier:
    """Copies images. ``manifest_locks``, by digest, keep images that share a manifest from putting it twice."""

    def __init__(
        self,
        registries: Registries,
        results: Results,
        blobs: BlobDistributor,
        known: KnownContents,
        options: Options,
    ) -> None:
        self.registries = registries
        self.blobs = blobs
        self.known = known
        self.force = options.force
        self.manifest_locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._results = results

    async def copy(self, job: CopyJob) -> None:
        """Copy one image to its destinations that are not finished, and record the outcome of each.

        Raises ``DeliveryError`` for the destinations that failed; nothing is recorded for these, so that another
        attempt at the job is for them alone.
        """
        begun = time.monotonic()
        remaining = [destination for destination in job.destinations if destination not in job.finished]
        try:
            source = await self.registries.source(job.source)
            root = await source.manifests.get(job.source.target)
            image = await filter_platforms(root, source, job.platforms)
        except Exception as caught:
            error = as_expected(caught)
            failures = {str(destination): error for destination in remaining}
            raise DeliveryError(f"image {job.source}", failures) from None
        if image.root is None:
            for destination in remaining:
                outcome = ImageOutcome(source=job.name, destination=str(destination), outcome=Outcome.SKIPPED)
                self._results.finish(job, destination, outcome)
            return
        copying = _ImageCopy(self, source, image)
        await copying.open(remaining)
        await copying.copy_contents(image.root, 0, copying.active())
        active = copying.active()
        await asyncio.gather(*(copying.put_root(image.root, each) for each in remaining if str(each) in active))
        active = copying.active()
        for destination in remaining:
            if str(destination) in active:
                outcome = ImageOutcome(
                    source=job.name,
                    destination=str(destination if destination.tag else destination.at(image.root.digest)),
                    outcome=Outcome.COPIED,
                    digest=image.root.digest,
                    bytes=copying.sent[str(destination)],
                    seconds=round(time.monotonic() - begun, 3),
                )
                self._results.finish(job, destination, outcome)
        if copying.failures:
            raise DeliveryError(f"image {job.source}", copying.failures)


class _ImageCopy:
    """An image that is being copied. A destination that fails drops out, and the others go on.

    Destinations are keyed by their references as text. ``failures`` has the error of each that failed, ``sent`` the
    bytes that each was sent.
    """

    def __init__(self, copier: ImageCopier, source: Repository, image: FilteredImage) -> None:
        self._copier = copier
        self._known = copier.known
        self._source = source
        self._rewritten = image.rewritten
        self._manifests_read = 0
        self._repositories: dict[str, Repository] = {}
        self.failures: dict[str, ImageferryError] = {}
        self.sent: defaultdict[str, int] = defaultdict(int)

    async def open(self, destinations: Iterable[Reference]) -> None:
        """Open the destinations; one that cannot be opened has failed."""
        for destination in destinations:
            try:
                self._repositories[str(destination)] = await self._copier.registries.destination(destination)
            except Exception as error:
                self._fail([str(destination)], error)

    def active(self, keys: Iterable[str] | None = None) -> list[str]:
        """Return the destinations, of these or of all, that have not failed."""
        return [key for key in (self._repositories if keys is None else keys) if key not in self.failures]

    async def copy_contents(self, manifest: Manifest, depth: int, keys: list[str]) -> None:
        """Bring all that the manifest names to its destinations. ``depth`` is in how many indexes it is nested."""
        try:
            if manifest.is_index:
                entries = children(manifest, depth)
                await for_each(
                    entries, CONTENTS_AT_ONCE, lambda entry: self._copy_child(manifest, entry, depth + 1, keys)
                )
            else:
                await for_each(blobs(manifest), CONTENTS_AT_ONCE, lambda blob: self._copy_blob(blob, keys))
                await for_each(
                    foreign_layers(manifest), CONTENTS_AT_ONCE, lambda layer: self._copy_foreign_layer(layer, keys)
                )
        except Exception as error:
            # What cannot be read fails every destination that needs it.
            self._fail(keys, error)

    async def put_root(self, root: Manifest, destination: Reference) -> None:
        """Put the image's own manifest, under its tag or its digest: the last step."""
        await self._put(root, destination.tag or root.digest, str(destination))

    async def _copy_child(self, index: Manifest, entry: dict[str, Any], depth: int, keys: list[str]) -> None:
        child = descriptor(index, entry)
        async with self._copier.manifest_locks[child.digest]:
            lacking = [key for key in self.active(keys) if not await self._find_manifest(key, child.digest)]
            if not lacking:
                return
            self._manifests_read += 1
            if self._manifests_read > manifest_contents.MANIFESTS_LIMIT:
                reason = f"it has more than {manifest_contents.MANIFESTS_LIMIT:,} manifests"
                raise InvalidResponse(f"copy manifest {index.digest}", reason, advice="the image is damaged or hostile")
            try:
                manifest = self._rewritten.get(child.digest) or await read_child(self._source, entry)
            except NotFound:
                if entry.get("mediaType") in MANIFEST_TYPES:
                    raise
                # An index may name content that is no manifest.
                await self._copy_blob(child, lacking)
                return
            await self.copy_contents(manifest, depth, lacking)
            await asyncio.gather(*(self._put(manifest, child.digest, key) for key in self.active(lacking)))

    async def _copy_blob(self, blob: Descriptor, keys: list[str]) -> None:
        key_by_name = {self._repositories[key].name: key for key in self.active(keys)}
        repositories = [self._repositories[key] for key in key_by_name.values()]
        result = await self._copier.blobs.ensure_blob(blob, self._source, repositories)
        for name in result.sent_to:
            self.sent[key_by_name[name]] += max(blob.size, 0)
        for name, error in result.failures.items():
            self._fail([key for key in keys if self._repositories[key].name == name], error)

    async def _copy_foreign_layer(self, layer: Descriptor, keys: list[str]) -> None:
        """Copy a layer that need not be distributed to the registries that should have it, if the source holds it."""
        wanted = [
            key for key in self.active(keys) if self._copier.registries.takes_foreign_layers(self._repositories[key])
        ]
        if wanted and await self._source.blobs.exists(layer.digest):
            await self._copy_blob(layer, wanted)

    async def _find_manifest(self, key: str, digest: str) -> bool:
        """Return whether the destination has a manifest, and with it all that it names.

        A transient error of the registry fails the destination; any other is left to the copy.
        """
        repository = self._repositories[key]
        if self._known.has_manifest(repository, digest):
            return True
        if self._copier.force or self._known.was_empty(repository):
            return False
        try:
            found = await repository.manifests.head(digest) is not None
        except Exception as error:
            if as_expected(error).transient:
                self._fail([key], error)
            return False
        if found:
            self._known.add_manifest(repository, digest)
        return found

    async def _put(self, manifest: Manifest, target: str, key: str) -> None:
        repository = self._repositories[key]
        try:
            await repository.manifests.put(target, manifest)
        except Exception as error:
            self._fail([key], error)
        else:
            self._known.add_manifest(repository, manifest.digest)
            self.sent[key] += len(manifest.body)

    def _fail(self, keys: Iterable[str], error: Exception) -> None:
        """Record the first error of each destination. Whatever it is, it costs these destinations alone."""
        for key in keys:
            self.failures.setdefault(key, as_expected(error))
