"""What a dry run would have written, for the rules that read it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from imageferry.copy.manifest_budget import ManifestReader
from imageferry.copy.platforms import filter_platforms
from imageferry.copy.registries import Registries
from imageferry.model import Rule
from imageferry.reference import Reference
from imageferry.registry import Manifest
from imageferry.selection import PlatformFilter


@dataclass(frozen=True, slots=True)
class Forecast:
    """An image that would be there by now: its digest, where its content is, and the filters that it has passed."""

    digest: str
    origin: Reference
    platforms: tuple[PlatformFilter, ...]


class Forecasts:
    """The images that a dry run would have written into repositories that its rules read. A real run has none."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._read = {rule.source.repository.name for rule in rules}
        self._images: defaultdict[str, dict[str, Forecast]] = defaultdict(dict)

    def add(self, source: Reference, destination: Reference, digest: str, platforms: PlatformFilter) -> None:
        """Record that ``source`` would be at ``destination``, under ``digest``."""
        if destination.name not in self._read:
            return
        before = self.find(source)
        filters = (*(before.platforms if before else ()), *((platforms,) if platforms else ()))
        image = Forecast(digest, before.origin if before else source, filters)
        found = self._images[destination.name]
        found[digest] = image
        if destination.tag:
            found[destination.tag] = image

    def find(self, reference: Reference) -> Forecast | None:
        """Return what would be there under a reference; None where it is what the registry holds."""
        return self._images[reference.name].get(reference.target) if reference.name in self._images else None

    def tags(self, repository: Reference) -> list[str]:
        """Return the tags that would be written into a repository."""
        return [name for name in self._images.get(repository.name, ()) if ":" not in name]


async def read_forecast(
    forecast: Forecast, registries: Registries, platforms: PlatformFilter, reader: ManifestReader
) -> str | None:
    """Return the digest under which an image would be copied on; None where the filter leaves nothing of it.

    Its content is read where it is, if the filter needs it. Raises ``ImageferryError``.
    """
    if not platforms:
        return forecast.digest
    repository = await registries.source(forecast.origin)
    first = await reader.read(repository, forecast.origin.target)
    root: Manifest | None = first
    with reader.hold(first):
        for wanted in (*forecast.platforms, platforms):
            if root is not None:
                root = (await filter_platforms(root, repository, wanted, reader)).root
    return root.digest if root else None
