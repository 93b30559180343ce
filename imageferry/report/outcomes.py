"""What became of each image, and the totals: the report that a run leaves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel, Field

from imageferry.report.waits import Waits
from imageferry.text import format_duration, format_size


class Outcome(StrEnum):
    """What became of one image."""

    COPIED = "copied"
    UP_TO_DATE = "up_to_date"
    SKIPPED = "skipped"
    FAILED = "failed"
    WOULD_COPY = "would_copy"


@dataclass(slots=True)
class ImageOutcome:
    """One source tag or digest at one destination. ``bytes`` is what was sent for it, ``seconds`` how long it took."""

    source: str
    destination: str
    outcome: Outcome
    digest: str | None = None
    bytes: int = 0
    seconds: float = 0.0
    error: str | None = None


class Totals(BaseModel):
    """Counts of images by outcome, bytes over the network, and blobs by how they came to their destination."""

    copied: int = 0
    up_to_date: int = 0
    skipped: int = 0
    failed: int = 0
    would_copy: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    blobs_copied: int = 0
    blobs_mounted: int = 0
    blobs_present: int = 0


class Report(BaseModel):
    """The report as it is written to a file."""

    flow_run_id: str | None = None
    started: datetime
    seconds: float
    status: str
    totals: Totals
    images: list[ImageOutcome]
    #: For the file of rules to run again, not part of the report: see ``Outcomes.retry_platforms``.
    retry_platforms: dict[tuple[str, str], list[str]] = Field(default_factory=dict, exclude=True)

    def to_json(self) -> str:
        """Give the report as indented JSON."""
        return self.model_dump_json(indent=2)

    @property
    def summary(self) -> str:
        """Give the counts in one line, as the final state's message says them."""
        totals = self.totals
        parts = [f"{totals.copied:,} copied"]
        if totals.would_copy:
            parts = [f"{totals.would_copy:,} would be copied"]
        parts += [
            f"{totals.up_to_date:,} up to date",
            f"{totals.skipped:,} skipped",
            f"{totals.failed:,} failed",
        ]
        moved = f"{format_size(totals.bytes_written)} sent" if totals.bytes_written else "nothing sent"
        return f"{', '.join(parts)}; {moved} in {format_duration(self.seconds)}"


@dataclass
class Outcomes:
    """The outcomes of a run as they come, and the figures that its progress shows.

    ``planned`` is how many images the plan has found so far, those that are done among them. ``retry_platforms`` has
    the platforms that a failed image was to be copied with, by source and destination. ``listeners`` are called with
    each outcome as it is known. ``active_blobs`` maps a blob that moves to its bytes, sent and in all. ``waits`` are
    the registries that hold the run up.
    """

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    images: list[ImageOutcome] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)
    planned: int = 0
    retry_platforms: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    active_blobs: dict[str, tuple[int, int]] = field(default_factory=dict)
    listeners: list[Callable[[ImageOutcome], None]] = field(default_factory=list)
    waits: Waits = field(default_factory=Waits)
    _begun: float = field(default_factory=time.monotonic)

    def add(self, image: ImageOutcome) -> None:
        """Take one outcome in, and tell the listeners."""
        self.images.append(image)
        setattr(self.totals, image.outcome, getattr(self.totals, image.outcome) + 1)
        for listener in self.listeners:
            listener(image)

    @property
    def seconds(self) -> float:
        """How long the run has taken so far, in seconds."""
        return time.monotonic() - self._begun

    @property
    def failures(self) -> list[ImageOutcome]:
        """The images that failed."""
        return [image for image in self.images if image.outcome is Outcome.FAILED]

    def report(self, status: str | None = None, flow_run_id: str | None = None) -> Report:
        """Give the report as it stands; without a status, ``failed`` where an image failed, else ``completed``."""
        return Report(
            flow_run_id=flow_run_id,
            started=self.started,
            seconds=round(self.seconds, 3),
            status=status or ("failed" if self.totals.failed else "completed"),
            totals=self.totals,
            images=self.images,
            retry_platforms=self.retry_platforms,
        )
