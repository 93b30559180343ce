"""What was measured of a database that grows, and its table."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.databases import OF_EVENTS, Database

MIB = 1 << 20


@dataclass
class Measured:
    """What is in a database at one time: its bytes, and the rows and bytes of each table."""

    size: int
    rows: dict[str, int]
    sizes: dict[str, int]

    @classmethod
    def of(cls, database: Database) -> Measured:
        """Measure."""
        return cls(database.size(), database.rows(), database.sizes())

    @property
    def of_events(self) -> int:
        """Bytes of the tables of events."""
        return sum(self.sizes.get(table, 0) for table in OF_EVENTS)


@dataclass
class Series:
    """Nights of one kind with one database, and what is left of them once the old is deleted and VACUUM has run."""

    database: str
    kind: str
    empty: Measured
    nights: list[Measured] = field(default_factory=list)
    without_old_events: Measured | None = None
    without_old_runs: Measured | None = None

    @property
    def last(self) -> Measured:
        """After the last night."""
        return self.nights[-1]

    def rows(self, *tables: str) -> float:
        """Return how many rows of these tables a night has added."""
        added = sum(self.last.rows.get(table, 0) - self.empty.rows.get(table, 0) for table in tables)
        return added / len(self.nights)

    @property
    def a_night(self) -> float:
        """Bytes that a night has added."""
        return (self.last.size - self.empty.size) / len(self.nights)

    @property
    def events_a_night(self) -> float:
        """Bytes of that which are events."""
        return (self.last.of_events - self.empty.of_events) / len(self.nights)

    def settles_at(self, events_days: int, runs_days: int) -> float:
        """Return the bytes that it comes to where events and runs are deleted after so many days.

        The server looks for old ones each hour: they stay part of a day longer.
        """
        runs = self.a_night - self.events_a_night
        return self.empty.size + self.events_a_night * (events_days + 1) + runs * (runs_days + 1)


def table(measured: list[Series], events_days: int, runs_days: int) -> str:
    """Return a Markdown table of all series, then one of the largest tables of each."""
    lines = [
        f"| a night | database | nights | task runs | states | events | log lines | KiB a night | of it events "
        f"| MiB a year | MiB empty | after these nights | then events of {events_days} days only "
        f"| then runs of {runs_days} days only | settles at: events 2 d, runs 90 d |",
        "|---|---|" + "---:|" * 13,
    ]
    for series in measured:
        old = [series.without_old_events, series.without_old_runs]
        sizes = [series.empty, series.last, *old]
        cells = [series.kind, series.database, f"{len(series.nights)}"]
        kinds = (("task_run",), ("task_run_state", "flow_run_state"), ("events",), ("log",))
        cells += [f"{series.rows(*tables):,.0f}" for tables in kinds]
        cells += [f"{series.a_night / 1024:,.0f}", f"{series.events_a_night / 1024:,.0f}"]
        cells += [f"{series.a_night * 365 / MIB:,.0f}"]
        cells += [f"{each.size / MIB:,.1f}" if each else "" for each in sizes]
        cells += [f"{series.settles_at(2, 90) / MIB:,.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_largest(measured)])


def _largest(measured: list[Series]) -> list[str]:
    lines = ["| a night | database | table | rows a night | KiB a night |", "|---|---|---|---:|---:|"]
    for series in measured:
        nights = len(series.nights)
        added = {name: size - series.empty.sizes.get(name, 0) for name, size in series.last.sizes.items()}
        for name, size in sorted(added.items(), key=lambda item: -item[1])[:6]:
            cells = [series.kind, series.database, name, f"{series.rows(name):,.0f}", f"{size / nights / 1024:,.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return lines
