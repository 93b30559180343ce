"""How a run does its work."""

from __future__ import annotations

from dataclasses import dataclass, field

from imageferry.selection import PlatformFilter

# Blobs that are moved at once, and further attempts at a failed image or blob, unless the user says otherwise.
DEFAULT_PROC = 5
DEFAULT_RETRIES = 2


@dataclass(frozen=True, slots=True)
class Options:
    """How a run does its work: ``proc`` blobs are moved at once, ``retries`` more attempts for a failed image or blob.

    ``force`` copies without comparing, ``dry_run`` compares without copying. ``bandwidth`` is in bytes a second, read
    from all sources together; None for no limit. ``platforms`` holds for the rules that have no filter of their own.
    ``withheld`` are names at destinations that are left alone, since another run writes there.
    """

    proc: int = DEFAULT_PROC
    retries: int = DEFAULT_RETRIES
    force: bool = False
    dry_run: bool = False
    bandwidth: int | None = None
    platforms: PlatformFilter = field(default_factory=PlatformFilter)
    withheld: frozenset[str] = frozenset()
