"""What a soak has come to: counted as it goes, printed as text and as JSON."""

import json
from collections import Counter
from dataclasses import dataclass, field

from imageferry.text import format_count, format_duration, format_size


@dataclass
class Counts:
    """Counts of a soak. ``read_twice`` are the bytes that sources sent beyond the size of what was needed of them."""

    seeds: int = 0
    whole: int = 0
    healed: int = 0
    images: int = 0
    copies: int = 0
    requests: int = 0
    bytes_read: int = 0
    read_twice: int = 0
    faults: "Counter[str]" = field(default_factory=Counter)
    failures: "Counter[str]" = field(default_factory=Counter)
    kills: int = 0
    kills_of_the_command: int = 0
    late_kills: int = 0
    blobs_kept: int = 0
    blobs_sent_again: int = 0
    small_blobs_sent_again: int = 0
    wrong: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, other: "Counts") -> None:
        """Add the counts of another one."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(value, dict):
                mine.update(value)
            else:
                setattr(self, name, mine + value)

    def line(self, of_seeds: int, of_kills: int) -> str:
        """Say in a line how far it is."""
        parts = [f"{self.seeds} of {of_seeds} seeds"] if of_seeds else []
        parts += [f"{self.kills} of {of_kills} kills"] if of_kills else []
        return ", ".join(
            [
                *parts,
                format_count(self.faults.total(), "fault"),
                f"{len(self.wrong)} wrong",
                format_duration(self.seconds),
            ]
        )

    def text(self) -> str:
        """Say all of it in plain text."""
        lines = [
            f"seeds               {self.seeds:,}, of them {self.whole:,} wholly copied at the first run and "
            f"{self.healed:,} at the second",
            f"images              {self.images:,}, to {self.copies:,} destinations",
            f"requests            {self.requests:,}",
            f"read from sources   {format_size(self.bytes_read)}, of it twice {format_size(self.read_twice)}",
            f"faults              {self.faults.total():,}",
            *(f"  {count:>7,}  {kind}" for kind, count in self.faults.most_common()),
            f"failures told       {self.failures.total():,}",
            *(f"  {count:>7,}  {cause}" for cause, count in self.failures.most_common()),
            f"kills               {self.kills:,}, of them {self.kills_of_the_command:,} of the whole command; "
            f"{self.late_kills:,} came after the end",
            f"blobs after kills   {self.blobs_kept:,} had arrived, of them sent again {self.blobs_sent_again:,}, "
            f"and {self.small_blobs_sent_again:,} so small that they are sent rather than asked for",
            f"took                {format_duration(self.seconds)}",
            f"wrong               {len(self.wrong):,}",
        ]
        for what, why in self.wrong.items():
            lines += [f"  python -m tests.soak {what}", *(f"    {each}" for each in why)]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Return all of it as JSON."""
        return json.dumps(vars(self), indent=2)
