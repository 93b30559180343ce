"""What a tool is asked to do: copy these tags from one registry to others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Side:
    """A registry as its clients see it; without a ``ca_file`` it speaks plain HTTP."""

    host: str
    ca_file: Path | None = None

    @property
    def url(self) -> str:
        """The scheme and the host."""
        return f"{'https' if self.ca_file else 'http'}://{self.host}"


@dataclass(frozen=True)
class Image:
    """One image, as those tools need to know it that know no more than one."""

    repository: str
    tag: str
    media_type: str
    blobs: tuple[str, ...]


@dataclass(frozen=True)
class CopyJob:
    """Repositories to copy under their own names: all tags of each, or with ``each_tag`` a rule for every tag."""

    source: Side
    destinations: tuple[Side, ...]
    digests: dict[str, dict[str, str]]
    each_tag: bool
    folder: Path
    # The image, where the work is a single one.
    image: Image | None = None

    @property
    def sides(self) -> tuple[Side, ...]:
        """All registries."""
        return (self.source, *self.destinations)

    @property
    def authorities(self) -> Path | None:
        """A file with the certificates of all authorities, where the registries speak TLS."""
        files = [side.ca_file for side in self.sides if side.ca_file]
        if not files:
            return None
        bundle = self.folder / "authorities.pem"
        bundle.write_bytes(b"".join(file.read_bytes() for file in files))
        return bundle

    def tags(self) -> Iterator[tuple[str, str]]:
        """Return each repository and tag."""
        for repository, tags in self.digests.items():
            for tag in tags:
                yield repository, tag


@dataclass(frozen=True)
class Command:
    """What to run, with what environment besides the common one."""

    words: list[str]
    environment: dict[str, str] = field(default_factory=dict)
