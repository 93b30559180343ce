"""The figures of all rounds of one tool at one work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from benchmarks.row import Row


@dataclass(frozen=True)
class Summary:
    """The rounds of one tool at one work: those that count, and those that were lost."""

    work: str
    tool: str
    counted: tuple[Row, ...]
    lost: tuple[Row, ...]

    @property
    def able(self) -> bool:
        """Whether the tool can do the work at all."""
        return all(row.able for row in self.lost)

    @property
    def wall(self) -> float:
        """The median of the wall times."""
        return median(row.wall for row in self.counted)

    @property
    def span(self) -> float:
        """The median of the times from the first request to the last."""
        return median(row.span for row in self.counted)

    @property
    def cpu(self) -> float:
        """The median of the CPU times."""
        return median(row.cpu for row in self.counted)

    @property
    def peak(self) -> float:
        """The median of the peaks of memory."""
        return median(row.peak for row in self.counted)

    def requests(self, place: str) -> int:
        """The median of the numbers of requests at a registry."""
        return round(median(sum(row.requests[place].values()) for row in self.counted))

    def served(self, place: str) -> int:
        """The median of the bytes that a registry has served."""
        return round(median(row.served[place] for row in self.counted))


def summarise(rows: Iterable[Row]) -> dict[str, list[Summary]]:
    """Return the summaries by work, in the order of the rows."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.work, row.tool), []).append(row)
    found: dict[str, list[Summary]] = {}
    for (work, tool), group in groups.items():
        counted = tuple(row for row in group if not row.lost)
        found.setdefault(work, []).append(Summary(work, tool, counted, tuple(row for row in group if row.lost)))
    return found
