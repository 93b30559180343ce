"""How Prefect's database grows: ``python -m benchmarks.history --nights 30 --tags 10000``.

Plays nights of a mirror of many tags: a run each, with a Prefect server on SQLite and on PostgreSQL. Then it lets the
nights grow old, a day each, and measures what the server deletes by itself and what ``deployments.vacuum`` deletes.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from types import FrameType

from cyclopts import App

from benchmarks.databases import Database, Postgres, SQLite
from benchmarks.growth import Measured, Series, table
from benchmarks.nightly import Mirror, Night
from testkit.prefect.programs import Programs
from testkit.prefect.server import running_server
from testkit.processes import MissingProgram

# Seconds in which a server must have written, or deleted, what it has to.
LIMIT = 600

app = App(name="python -m benchmarks.history", help="How Prefect's database grows by nightly runs.")


@dataclass(frozen=True)
class Kind:
    """A kind of night: so many images changed, and the settings of its run."""

    name: str
    changed: int
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ages:
    """After how many days events and runs are old."""

    events: int
    runs: int


@dataclass(frozen=True)
class Play:
    """What is played: the first night with the large mirror, the others with the small one."""

    large: Mirror
    small: Mirror
    nights: int
    ages: Ages


@app.default
def history(
    nights: int = 30,
    tags: int = 10_000,
    sample: int = 500,
    repositories: int = 20,
    changed: int = 100,
    kinds: str = "changed,idle",
    databases: str = "sqlite,postgresql",
    events_days: int = 2,
    runs_days: int = 14,
    results: Path | None = None,
) -> int:
    """Play the nights and print a table.

    Parameters
    ----------
    nights
        How many nights of each kind.
    tags
        Tags that the first night of each kind compares.
    sample
        Tags that the other nights compare. An up-to-date tag leaves nothing in the database, and takes time: that both
        kinds of night add as many rows is checked.
    repositories
        Repositories they are in, a rule each.
    changed
        Tags that get a new image each night.
    kinds
        Which kinds of night, a comma between: idle; changed; every-blob, where each blob of those has a task run.
    databases
        Which databases, a comma between: sqlite, postgresql.
    events_days
        After how many days the server is to delete events.
    runs_days
        After how many days deployments.vacuum is to delete runs.
    results
        A file for all that was measured, as JSON.
    """
    try:
        wanted = _named(kinds, databases, changed)
        with tempfile.TemporaryDirectory(prefix="imageferry-history-") as place:
            say(f"making {tags:,} tags in two registries")
            with (
                Mirror(Path(place) / "large", tags, repositories) as large,
                Mirror(Path(place) / "small", sample, repositories) as small,
            ):
                play = Play(large, small, nights, Ages(events_days, runs_days))
                measured = _months(play, wanted, Path(place), results)
    except (ValueError, MissingProgram) as error:
        print(f"history: {error}", file=sys.stderr)
        return 2
    print(table(measured, events_days, runs_days))
    return 0


def _named(kinds: str, databases: str, changed: int) -> list[tuple[Kind, str]]:
    """Return each kind of night with each database, of two comma lists. Raises ``ValueError``."""
    known = {
        "idle": Kind("nothing changed", 0),
        "changed": Kind(f"{changed:,} images", changed),
        "every-blob": Kind(f"{changed:,} images, a task run a blob", changed, {"IMAGEFERRY_BLOB_TASK_SIZE": "0"}),
    }
    asked = kinds.split(","), databases.split(",")
    for given, there in zip(asked, (list(known), ["sqlite", "postgresql"]), strict=True):
        if unknown := set(given) - set(there):
            raise ValueError(f"{', '.join(sorted(unknown))}: expected one of {', '.join(there)}")
    return [(known[kind], name) for kind in asked[0] for name in asked[1]]


def _months(play: Play, wanted: list[tuple[Kind, str]], folder: Path, results: Path | None) -> list[Series]:
    measured: list[Series] = []
    for number, (kind, name) in enumerate(wanted):
        home = folder / str(number)
        home.mkdir()
        with SQLite(home) if name == "sqlite" else Postgres() as database:
            measured.append(_month(play, kind, database, home))
        if results:
            results.write_text(json.dumps([asdict(each) for each in measured], indent=1))
    return measured


def _month(play: Play, kind: Kind, database: Database, home: Path) -> Series:
    """Play the nights with a database that is empty yet, then delete what is old."""
    played: list[Night] = []
    with running_server(home, database.settings()) as server:
        series = Series(database.name, kind.name, Measured.of(database))
        for number in range(play.nights):
            mirror = play.small if number else play.large
            mirror.change(kind.changed)
            night = mirror.sync(server.api.url, kind.settings)
            if night.copied != kind.changed:
                raise RuntimeError(f"{night.copied} images were copied in place of {kind.changed}")
            _wait(lambda night=night: _is_told(database, night), "the events of the night's run")  # type: ignore[misc]
            played.append(night)
            series.nights.append(Measured.of(database))
            say(f"{kind.name}, {database.name}: night {number + 1}, {series.last.size:,} bytes")
    _check_rows(series)
    _grow_old(database, played)
    _delete(play.ages, database, home, series)
    return series


def _is_told(database: Database, night: Night) -> bool:
    """Whether the run's last event is there; those of its tasks have come before."""
    return database.has_event("prefect.flow-run.Completed", f"prefect.flow-run.{night.flow_run_id}")


def _check_rows(series: Series) -> None:
    """Raise ``RuntimeError`` where the night of all tags has added other rows than the next one."""
    if len(series.nights) < 2:
        return
    # One artifact more where a run was long enough to show its progress.
    for name, spare in (("flow_run", 0), ("task_run", 0), ("artifact", 1)):
        counts = [each.rows[name] for each in (series.empty, *series.nights[:2])]
        if abs(counts[1] - counts[0] - (counts[2] - counts[1])) > spare:
            raise RuntimeError(f"{name}: the nights differ in what they add: {counts}")


def _grow_old(database: Database, played: list[Night]) -> None:
    """Make the last night today's, and each one before a day older than the next."""
    for number, night in enumerate(played):
        ended = played[number + 1].begun if number + 1 < len(played) else night.ended + timedelta(hours=1)
        if back := len(played) - 1 - number:
            database.move(night.begun, ended, timedelta(days=back))


def _delete(ages: Ages, database: Database, home: Path, series: Series) -> None:
    """Let the server delete old events, and deployments.vacuum old runs; measure after each."""
    settings = database.settings() | {
        # It looks as soon as it is up, and then this often.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "5",
        # In the form of ISO 8601: mere seconds are refused.
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"P{ages.events}D",
    }
    with running_server(home, settings):
        _wait(lambda: not database.older("events", ages.events), "the end of old events")
        _wait(lambda: not database.older("event_resources", ages.events), "the end of what they are about")
    # Within no server's work: SQLite's file is written anew.
    database.compact()
    series.without_old_events = Measured.of(database)
    with running_server(home, database.settings()) as server:
        vacuum = Programs(home, server.api.url).run("deployments.vacuum", "--older-than", f"{ages.runs}d")
        if vacuum.status:
            raise RuntimeError(f"the vacuum ended with {vacuum.status}: {vacuum.both}")
        say(vacuum.out.strip())
        _wait(lambda: not database.orphans(), "the end of the logs of deleted runs")
    database.compact()
    series.without_old_runs = Measured.of(database)


def _wait(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(f"never came: {what}")
        time.sleep(0.5)


def say(line: str) -> None:
    """Tell how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _end(number: int, frame: FrameType | None) -> None:
    """End in order when asked to: servers stop, and the folder goes."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(app())
