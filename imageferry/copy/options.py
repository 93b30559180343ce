"""How a run does its work."""

from __future__ import annotations

from dataclasses import dataclass, field

from imageferry.selection import PlatformFilter

#: Blobs in flight at once, and more attempts for a failed tag or blob, where nothing else is said.
DEFAULT_PROC = 5
DEFAULT_RETRIES = 2


@dataclass(frozen=True, slots=True)
class Options:
    """How a run does its work: ``proc`` blobs in flight, ``retries`` more attempts for a failed tag or blob.

    ``bandwidth`` is in bytes a second, read from all sources together; None for no limit.
    """

    proc: int = DEFAULT_PROC
    retries: int = DEFAULT_RETRIES
    force: bool = False
    dry_run: bool = False
    bandwidth: int | None = None
    platforms: PlatformFilter = field(default_factory=PlatformFilter)
