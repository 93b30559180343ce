"""What the manifests of all images under way may take of memory.

Each image works with a share, which is enough for nearly all; one whose manifests need more gives up all that it holds
and begins again with the large share, which one image has at a time. So nobody waits for memory while holding some, and
no two can wait for each other. What is being read is bounded by the requests at once at each registry.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

from imageferry.copy import manifest_contents
from imageferry.reference import Reference
from imageferry.registry import Manifest, Repository
from imageferry.registry.errors import InvalidResponse
from imageferry.registry.manifest import MANIFEST_LIMIT

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# What a manifest takes while it is worked with, for each of its bytes: itself, and three times as much for what is read
# from it (10,000 descriptors of 98 bytes each).
HELD_PER_BYTE = 4

# The share of one image, in bytes: 1 MiB of manifests at a time. The large share: three manifests of the largest size,
# each within the one before, and 16 MiB of indexes that a filter has made.
IMAGE_SHARE = 4 * 1024 * 1024
LARGE_SHARE = 3 * HELD_PER_BYTE * MANIFEST_LIMIT + 16 * 1024 * 1024

# Images of one registry that have a share at the same time: as many as a run copies at once. Those of another registry
# do not wait for them.
SHARES = 48


class ShareExceeded(Exception):
    """The manifests of an image take more than its share."""


class ManifestBudget:
    """Shares of memory for those who work with the manifests of an image, ``shares`` at a time of one registry's."""

    def __init__(self, shares: int = SHARES) -> None:
        self._shares = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(shares))
        self._large = asyncio.Semaphore(1)

    async def spend(self, image: Reference, work: Callable[[ManifestReader], Awaitable[Result]]) -> Result:
        """Do what is to be done with one image, and return what it returns.

        It is done a second time, from the start, where its manifests take more than a share. Raises what it raises,
        and ``InvalidResponse`` where they take more than the large share too.
        """
        try:
            async with self._shares[image.registry]:
                return await work(ManifestReader(IMAGE_SHARE, alone=False))
        except ShareExceeded:
            logger.info("the manifests of %s are large: it waits for the others that are so", image)
        try:
            async with self._large:
                return await work(ManifestReader(LARGE_SHARE))
        except ShareExceeded:
            reason = f"its manifests take more than {LARGE_SHARE >> 20:,} MiB of memory"
            raise InvalidResponse(f"copy {image}", reason, advice="the image is damaged or hostile") from None


class ManifestReader:
    """Reads the manifests of one image: not more of them than an image may have, nor than fit its share (bytes)."""

    def __init__(self, share: int = LARGE_SHARE, *, alone: bool = True) -> None:
        self._free = share
        self._alone = alone
        self._count = 0

    async def read(self, source: Repository, target: str) -> Manifest:
        """Read a manifest by tag or digest. Raises ``RegistryError``."""
        self._count += 1
        if self._count > manifest_contents.MANIFESTS_LIMIT:
            reason = f"its image has more than {manifest_contents.MANIFESTS_LIMIT:,} manifests"
            action = f"read manifest {source.name}{'@' if ':' in target else ':'}{target}"
            raise InvalidResponse(action, reason, advice="the image is damaged or hostile")
        return await source.manifests.get(target)

    @contextlib.contextmanager
    def hold(self, manifest: Manifest) -> Iterator[None]:
        """Count what the manifest takes while the context is entered. Raises ``ShareExceeded``."""
        size = HELD_PER_BYTE * len(manifest.body)
        self._take(size)
        try:
            yield
        finally:
            self._free += size

    def keep(self, manifest: Manifest) -> None:
        """Count the bytes of a manifest that is kept until the image is copied. Raises ``ShareExceeded``."""
        self._take(len(manifest.body))

    def _take(self, size: int) -> None:
        if size > self._free:
            raise ShareExceeded
        self._free -= size

    def at_once(self, sizes: Iterable[int], most: int) -> int:
        """Return how many manifests of these sizes (bytes) to hold at the same time, ``most`` at most."""
        if self._alone:
            return 1
        largest = HELD_PER_BYTE * max(sizes, default=0)
        return max(1, min(most, self._free // largest)) if largest else most
