"""One image to its destinations: blobs first, then the manifests that name them, the tag last."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

from imageferry.concurrency import for_each
from imageferry.copy.blobs import BlobDistributor
from imageferry.copy.errors import DeliveryError, LeftBehind, as_expected
from imageferry.copy.job import CopyJob
from imageferry.copy.known_contents import KnownContents
from imageferry.copy.manifest_budget import ManifestBudget, ManifestReader, ShareExceeded
from imageferry.copy.manifest_contents import blobs, children, foreign_layers
from imageferry.copy.options import Options
from imageferry.copy.platforms import FilteredImage, filter_platforms
from imageferry.copy.registries import Registries
from imageferry.copy.results import Results
from imageferry.errors import ImageferryError
from imageferry.reference import Reference
from imageferry.registry import Descriptor, Manifest, Repository
from imageferry.registry.errors import DigestMismatch, NotFound, RegistryError
from imageferry.registry.manifest import MANIFEST_TYPES
from imageferry.registry.manifests import StoredManifest
from imageferry.report.outcomes import ImageOutcome, Outcome
from imageferry.text import escape_control

logger = logging.getLogger(__name__)

# Children and blobs of one image that are copied at the same time.
CONTENTS_AT_ONCE = 16

# How registries refuse a manifest because something that it names is not there (distribution specification, "Error
# Codes"; docker/distribution says BLOB_UNKNOWN of children too).
_CONTENT_UNKNOWN = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})


class ImageCopier:
    """Copies images. ``manifest_locks``, by source and digest, keep images that share a manifest from putting it twice.

    Those of another source need not wait for this one, which may be slow.
    """

    def __init__(
        self,
        registries: Registries,
        results: Results,
        blobs: BlobDistributor,
        known: KnownContents,
        options: Options,
        *,
        budget: ManifestBudget,
    ) -> None:
        self.registries = registries
        self.blobs = blobs
        self.known = known
        self.force = options.force
        self.manifest_locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._results = results
        self._budget = budget
        # Registries that take bytes so slowly that others were held up.
        self._laggards: set[str] = set()

    async def copy(self, job: CopyJob) -> None:
        """Copy one image to its destinations that are not finished, and record the outcome of each.

        Raises ``DeliveryError`` for the destinations that failed; nothing is recorded for these, so that another
        attempt at the job is for them alone.
        """
        begun = time.monotonic()
        sent: defaultdict[str, int] = defaultdict(int)
        try:
            await self._budget.spend(job.source, lambda reader: self._copy(job, reader, sent, begun))
        except DeliveryError:
            raise
        except Exception as caught:
            # Whatever it is, it costs this image alone.
            error = as_expected(caught)
            failures = {str(destination): error for destination in _remaining(job)}
            raise DeliveryError(f"image {job.source}", failures) from None

    async def _copy(self, job: CopyJob, reader: ManifestReader, sent: defaultdict[str, int], begun: float) -> None:
        """Make one attempt with a share of memory. Raises ``ShareExceeded`` and ``ImageferryError``."""
        source = await self.registries.source(job.source)
        root = await reader.read(source, job.source.target)
        with reader.hold(root):
            image = await filter_platforms(root, source, job.platforms, reader)
            remaining = _remaining(job)
            if image.root is None:
                for destination in remaining:
                    skipped = ImageOutcome(source=job.name, destination=str(destination), outcome=Outcome.SKIPPED)
                    self._results.finish(job, destination, skipped)
                return

            async def copy_to(destinations: list[Reference], apart: str = "") -> dict[str, ImageferryError]:
                copying = _ImageCopy(self, source, image, reader, sent, apart=apart)
                return await self._copy_to(job, copying, image.root, destinations, begun)

            failed = await self._copy_in_rounds(remaining, copy_to)
        if failed:
            raise DeliveryError(f"image {job.source}", failed)

    async def _copy_in_rounds(
        self, remaining: list[Reference], copy_to: Callable[..., Awaitable[dict[str, ImageferryError]]]
    ) -> dict[str, ImageferryError]:
        """Copy an image to all destinations: together, then apart to those that are too slow for that.

        ``copy_to`` takes destinations, and a name where they are apart. Return the errors of those that failed.
        """
        failed: dict[str, ImageferryError] = {}
        together = [each for each in remaining if each.registry not in self._laggards]
        apart = [each for each in remaining if each.registry in self._laggards]
        if together:
            failed = await copy_to(together)
            behind = [each for each in together if isinstance(failed.get(str(each)), LeftBehind)]
            self._laggards |= {each.registry for each in behind}
            apart += behind
        for found in await asyncio.gather(*(copy_to([each], each.name) for each in apart)):
            failed |= found
        return {key: error for key, error in failed.items() if not isinstance(error, LeftBehind)}

    async def _copy_to(
        self, job: CopyJob, copying: _ImageCopy, root: Manifest | None, destinations: list[Reference], begun: float
    ) -> dict[str, ImageferryError]:
        """Copy one image to some of its destinations, and record who has it. Return the errors of the others."""
        assert root is not None
        await copying.open(destinations)
        await copying.copy_contents(root, 0, copying.active())
        active = copying.active()
        # A digest that the user names is promised: it is what the others ask for.
        pinned = root.digest == job.source.digest
        await asyncio.gather(
            *(copying.put_root(root, each, pinned=pinned) for each in destinations if str(each) in active)
        )
        for destination in destinations:
            if str(destination) in copying.stored:
                outcome = self._outcome(job, destination, root, copying)
                outcome.seconds = round(time.monotonic() - begun, 3)
                self._results.finish(job, destination, outcome)
        return copying.failures

    def _outcome(self, job: CopyJob, destination: Reference, root: Manifest, copying: _ImageCopy) -> ImageOutcome:
        """Return the outcome at a destination where the root was put, as the registry has it there."""
        stored = copying.stored[str(destination)]
        outcome = ImageOutcome(
            source=job.name,
            destination=str(destination if destination.tag else destination.at(root.digest)),
            outcome=Outcome.COPIED,
            digest=stored.digest,
            bytes=copying.sent[str(destination)],
        )
        if stored.named != root.digest and job.found.get(destination) == stored.named:
            # To put it again has changed nothing: what the registry makes of it was there.
            outcome.outcome = Outcome.UP_TO_DATE
        elif stored.digest != root.digest:
            outcome.warning = f"{destination.registry} stored it as {stored.digest}; the source has {root.digest}"
            logger.warning("%s", escape_control(f"{outcome.destination}: {outcome.warning}"))
        return outcome


def _remaining(job: CopyJob) -> list[Reference]:
    return [destination for destination in job.destinations if destination not in job.finished]


class _ImageCopy:
    """An image that is being copied. A destination that fails drops out, and the others go on.

    Destinations are keyed by their references as text. ``failures`` has the error of each that failed, ``sent`` the
    bytes that each was sent, ``stored`` what each that has the image made of its root.
    """

    def __init__(
        self,
        copier: ImageCopier,
        source: Repository,
        image: FilteredImage,
        reader: ManifestReader,
        sent: defaultdict[str, int],
        *,
        apart: str,
    ) -> None:
        self._copier = copier
        self._known = copier.known
        self._source = source
        self._rewritten = image.rewritten
        self._reader = reader
        self._apart = apart
        self._lock_name = f"{source.name} {apart}"
        self._repositories: dict[str, Repository] = {}
        self.failures: dict[str, ImageferryError] = {}
        self.sent = sent
        self.stored: dict[str, StoredManifest] = {}

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
                named = children(manifest, depth)
                at_once = self._reader.at_once((child.size for child in named), CONTENTS_AT_ONCE)
                await for_each(named, at_once, lambda child: self._copy_child(child, depth + 1, keys))
            else:
                await for_each(blobs(manifest), CONTENTS_AT_ONCE, lambda blob: self._copy_blob(blob, keys))
                await for_each(
                    foreign_layers(manifest), CONTENTS_AT_ONCE, lambda layer: self._copy_foreign_layer(layer, keys)
                )
        except ShareExceeded:
            raise
        except Exception as error:
            # What cannot be read fails every destination that needs it.
            self._fail(keys, error)

    async def put_root(self, root: Manifest, destination: Reference, *, pinned: bool) -> None:
        """Put the image's own manifest, under its tag or its digest: the last step. ``pinned``: as it is, or not."""
        key = str(destination)
        stored = await self._put(root, destination.tag or root.digest, key, 0)
        if stored is None:
            return
        if pinned and stored.digest != root.digest:
            action = f"put manifest {self._repositories[key].name}:{destination.tag}"
            self._fail([key], DigestMismatch(action, f"{destination.registry} stored it as {stored.digest}"))
        else:
            self.stored[key] = stored

    async def _copy_child(self, child: Descriptor, depth: int, keys: list[str]) -> None:
        async with self._copier.manifest_locks[self._lock_name, child.digest]:
            lacking = [key for key in self.active(keys) if not await self._find_manifest(key, child.digest)]
            if not lacking:
                return
            try:
                manifest = self._rewritten.get(child.digest) or await self._reader.read(self._source, child.digest)
            except NotFound:
                if child.media_type in MANIFEST_TYPES:
                    raise
                # An index may name content that is no manifest.
                await self._copy_blob(child, lacking)
                return
            with self._reader.hold(manifest):
                await self.copy_contents(manifest, depth, lacking)
                await asyncio.gather(*(self._put(manifest, child.digest, key, depth) for key in self.active(lacking)))

    async def _copy_blob(self, blob: Descriptor, keys: list[str]) -> None:
        key_by_name = {self._repositories[key].name: key for key in self.active(keys)}
        repositories = [self._repositories[key] for key in key_by_name.values()]
        result = await self._copier.blobs.ensure_blob(blob, self._source, repositories, apart=bool(self._apart))
        for name in result.sent_to:
            self.sent[key_by_name[name]] += max(blob.size, 0)
        for name, error in result.failures.items():
            self._fail([key for key in keys if self._repositories[key].name == name], error)

    async def _copy_foreign_layer(self, layer: Descriptor, keys: list[str]) -> None:
        """Copy a layer that need not be distributed to the registries that should have it, if the source holds it."""
        wanted = [
            key for key in self.active(keys) if self._copier.registries.takes_foreign_layers(self._repositories[key])
        ]
        if wanted and await self._source.blobs.measure(layer.digest) is not None:
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

    async def _put(self, manifest: Manifest, target: str, key: str, depth: int) -> StoredManifest | None:
        """Put a manifest whose contents are there, and return what the registry made of it; None if that has failed.

        A registry that misses something that the manifest names is brought it once more.
        """
        repository = self._repositories[key]
        try:
            try:
                stored = await repository.manifests.put(target, manifest)
            except RegistryError as error:
                if error.transient or not _CONTENT_UNKNOWN & set(error.codes):
                    raise
                logger.info("%s; looking up again what it names", error)
                self._dispute_contents(manifest, repository, depth)
                await self.copy_contents(manifest, depth, [key])
                if key in self.failures:
                    return None
                stored = await repository.manifests.put(target, manifest)
        except ShareExceeded:
            raise
        except Exception as error:
            self._fail([key], error)
            return None
        self._known.add_manifest(repository, stored.digest)
        self.sent[key] += len(manifest.body)
        return stored

    def _dispute_contents(self, manifest: Manifest, repository: Repository, depth: int) -> None:
        """Forget that the repository has what the manifest names."""
        if manifest.is_index:
            for child in children(manifest, depth):
                self._known.dispute_manifest(repository, child.digest)
        else:
            for blob in blobs(manifest):
                self._known.dispute_blob(repository, blob.digest)

    def _fail(self, keys: Iterable[str], error: Exception) -> None:
        """Record the first error of each destination. Whatever it is, it costs these destinations alone."""
        for key in keys:
            self.failures.setdefault(key, as_expected(error))
