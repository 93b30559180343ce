"""What became of each image, and the totals: the report that a run leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, field_serializer, model_serializer

from imageferry.report.waits import Waits
from imageferry.text import format_duration, format_size

# Keys of a rule with their values, as a configuration has them; a list is a tuple.
RuleOptions = Mapping[str, str | tuple[str, ...]]


class Status(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """What became of one image."""

    COPIED = "copied"
    UP_TO_DATE = "up_to_date"
    KEPT = "kept"
    SKIPPED = "skipped"
    FAILED = "failed"
    WOULD_COPY = "would_copy"


@dataclass(slots=True)
class ImageOutcome:
    """One source tag or digest at one destination, with the bytes sent for it and the seconds that it took.

    ``warning`` is what a person should know of an image that is there: its digest is another one than at the source.
    """

    source: str
    destination: str
    outcome: Outcome
    digest: str | None = None
    bytes: int = 0
    seconds: float = 0.0
    error: str | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What the tag policy of a rule made of the tags of a repository; ``dropped`` are counts by stage.

    ``lines`` describe it to a person: what each stage left, and examples of what may be unexpected.
    """

    rule: str
    repository: str
    listed: int
    selected: int
    dropped: dict[str, int]
    undated: int = 0
    lines: tuple[str, ...] = ()

    @property
    def is_choice(self) -> bool:
        """Whether the policy has left tags out, or could not judge some."""
        return bool(self.dropped or self.undated)


class Totals(BaseModel):
    """Counts of images by outcome, bytes over the network, and blobs by how they got to their destination."""

    copied: int = 0
    up_to_date: int = 0
    kept: int = 0
    skipped: int = 0
    failed: int = 0
    would_copy: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    blobs_copied: int = 0
    blobs_mounted: int = 0
    blobs_present: int = 0

    def count(self, outcome: Outcome) -> None:
        """Count one image."""
        match outcome:
            case Outcome.COPIED:
                self.copied += 1
            case Outcome.UP_TO_DATE:
                self.up_to_date += 1
            case Outcome.KEPT:
                self.kept += 1
            case Outcome.SKIPPED:
                self.skipped += 1
            case Outcome.FAILED:
                self.failed += 1
            case Outcome.WOULD_COPY:
                self.would_copy += 1

    def add_transfer(self, other: Totals) -> None:
        """Add the bytes and blobs of another run. Its images are not added: each is counted as it is known."""
        self.bytes_read += other.bytes_read
        self.bytes_written += other.bytes_written
        self.blobs_copied += other.blobs_copied
        self.blobs_mounted += other.blobs_mounted
        self.blobs_present += other.blobs_present


class Report(BaseModel):
    """The report as it is written to a file. ``run_id`` is that of the orchestrator, where there is one."""

    run_id: str | None = Field(default=None, serialization_alias="flow_run_id")
    started: datetime
    seconds: float
    status: Status
    totals: Totals
    images: list[ImageOutcome]
    # What is no image's outcome, such as a rule that selects no tag.
    notes: list[str] = Field(default_factory=list)
    # What tag policies selected; left out of the report where no rule has one.
    selections: list[Selection] = Field(default_factory=list)
    # For the file of rules to run again, not part of the report: see ``Outcomes.retry_platforms``.
    retry_platforms: dict[tuple[str, str], list[str]] = Field(default_factory=dict, exclude=True)
    retry_options: dict[tuple[str, str], RuleOptions] = Field(default_factory=dict, exclude=True)
    retry_as: dict[tuple[str, str], tuple[str, str]] = Field(default_factory=dict, exclude=True)
    retry_tags: dict[tuple[str, str], Any] = Field(default_factory=dict, exclude=True)

    @field_serializer("images", mode="wrap")
    def _leave_out_no_warning(
        self, images: list[ImageOutcome], serialize: SerializerFunctionWrapHandler
    ) -> list[dict[str, Any]]:
        """Return the images without the warning that nearly none of them has."""
        found: list[dict[str, Any]] = serialize(images)
        for each in found:
            if each["warning"] is None:
                del each["warning"]
        return found

    @field_serializer("selections")
    def _leave_out_lines(self, selections: list[Selection]) -> list[dict[str, Any]]:
        """Return the selections as figures, without what a reader can do without."""
        return [
            {key: value for key, value in asdict(each).items() if key != "lines" and (key != "undated" or value)}
            for each in selections
        ]

    @model_serializer(mode="wrap")
    def _leave_out_no_selections(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = serialize(self)
        if not self.selections:
            found.pop("selections", None)
        return found

    def to_json(self) -> str:
        """Return the report as indented JSON."""
        return self.model_dump_json(indent=2, by_alias=True)

    @property
    def warnings(self) -> list[ImageOutcome]:
        """The images with a warning."""
        return [image for image in self.images if image.warning]

    @property
    def choices(self) -> list[Selection]:
        """The selections that a person is to see."""
        return [each for each in self.selections if each.is_choice]

    @property
    def summary(self) -> str:
        """The counts in one line, as in the message of a run's final state."""
        totals = self.totals
        parts = [f"{totals.copied:,} copied"]
        if totals.would_copy:
            parts = [f"{totals.would_copy:,} would be copied"]
        parts += [
            f"{totals.up_to_date:,} up to date",
            *([f"{totals.kept:,} kept"] if totals.kept else []),
            f"{totals.skipped:,} skipped",
            f"{totals.failed:,} failed",
        ]
        moved = f"{format_size(totals.bytes_written)} sent" if totals.bytes_written else "nothing sent"
        return f"{', '.join(parts)}; {moved} in {format_duration(self.seconds)}"


@dataclass
class Outcomes:
    """The outcomes of a run so far, and the figures of its progress."""

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    images: list[ImageOutcome] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)
    # Images that the plan has found so far, including those that are done.
    planned: int = 0
    # The platform filter of failed images, by source and destination.
    retry_platforms: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    # The other keys of the rule of failed images, as they are written, by source and destination.
    retry_options: dict[tuple[str, str], RuleOptions] = field(default_factory=dict)
    # The rule to run again for a failed image, where that is not a rule of this image alone.
    retry_as: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    # The tag policy of rules that failed as a whole, as it is written, by the rule's name and destination.
    retry_tags: dict[tuple[str, str], Any] = field(default_factory=dict)
    # Blobs that are being sent, by digest: bytes sent, and bytes in all.
    active_blobs: dict[str, tuple[int, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    # What tag policies selected, in the order in which rules were listed.
    selections: list[Selection] = field(default_factory=list)
    # Called with each outcome as it is known, and with each note.
    listeners: list[Callable[[ImageOutcome], None]] = field(default_factory=list)
    note_listeners: list[Callable[[str], None]] = field(default_factory=list)
    # The registries for which the run is waiting.
    waits: Waits = field(default_factory=Waits)
    _start: float = field(default_factory=time.monotonic)

    def add(self, image: ImageOutcome) -> None:
        """Add one outcome and call the listeners."""
        self.images.append(image)
        self.totals.count(image.outcome)
        for listener in self.listeners:
            listener(image)

    def note(self, text: str) -> None:
        """Add what the user should know and what is no image's outcome, and call the listeners."""
        self.notes.append(text)
        for listener in self.note_listeners:
            listener(text)

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._start

    @property
    def choices(self) -> list[Selection]:
        """The selections that a person is to see."""
        return [each for each in self.selections if each.is_choice]

    @property
    def failures(self) -> list[ImageOutcome]:
        """The images that failed."""
        return [image for image in self.images if image.outcome is Outcome.FAILED]

    def report(self, status: Status | None = None, run_id: str | None = None) -> Report:
        """Return the report so far; without a status, it is ``failed`` if an image failed, else ``completed``."""
        return Report(
            run_id=run_id,
            started=self.started,
            seconds=round(self.seconds, 3),
            status=status or (Status.FAILED if self.totals.failed else Status.COMPLETED),
            totals=self.totals,
            images=self.images,
            notes=self.notes,
            retry_platforms=self.retry_platforms,
            retry_options=self.retry_options,
            retry_as=self.retry_as,
            retry_tags=self.retry_tags,
            selections=self.selections,
        )
