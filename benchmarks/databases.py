"""Prefect's database, SQLite or PostgreSQL: what is in it, how large it is, and how it grows old."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from testkit.prefect.postgres import PostgreSQL

# Tables that a run writes to, besides some that are small whatever happens.
TABLES = (
    "flow_run",
    "flow_run_state",
    "task_run",
    "task_run_state",
    "task_run_state_cache",
    "artifact",
    "artifact_collection",
    "log",
    "events",
    "event_resources",
    "automation_related_resource",
)

# Where Prefect keeps events; the rest belongs to runs.
OF_EVENTS = ("events", "event_resources")

# What tells how old a row is, for those who delete the old ones.
AGES = (("events", "occurred"), ("event_resources", "occurred"), ("flow_run", "end_time"))

# Log lines whose run was deleted: the server deletes them some time later.
ORPHANS = "select count(*) from log where flow_run_id is not null and flow_run_id not in (select id from flow_run)"


class Database(Protocol):
    """A database of Prefect's while the context is entered."""

    name: str

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def settings(self) -> dict[str, str]:
        """Return what a Prefect server is to be told of it."""

    def rows(self) -> dict[str, int]:
        """Count the rows of each table that there is."""

    def size(self) -> int:
        """Return its bytes on the disk."""

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each table that there is, with its indexes."""

    def has_event(self, event: str, resource: str) -> bool:
        """Tell whether an event of this name about a resource is there."""

    def move(self, begun: datetime, ended: datetime, back: timedelta) -> None:
        """Make what happened within that time so much older."""

    def older(self, table: str, days: int) -> int:
        """Count what is older in a table of events."""

    def orphans(self) -> int:
        """Count the log lines of runs that are no more."""

    def compact(self) -> None:
        """Give back to the disk what was deleted."""


class SQLite:
    """The file in a Prefect home."""

    name = "SQLite"

    def __init__(self, home: Path) -> None:
        self._file = home / "prefect.db"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the file with its home."""

    def settings(self) -> dict[str, str]:
        """Nothing: it is Prefect's default."""
        return {}

    def rows(self) -> dict[str, int]:
        """Count the rows."""
        return {table: self._ask(f"select count(*) from {table}")[0][0] for table in self._tables()}

    def size(self) -> int:
        """Return the size of the file, once all that is written beside it is in it."""
        while self._ask("pragma wal_checkpoint(truncate)")[0][0]:
            """The server is writing; sqlite3 has waited."""
        return self._file.stat().st_size

    def sizes(self) -> dict[str, int]:
        """Return the pages of tables and their indexes."""
        found = self._ask("select tbl_name, sum(pgsize) from dbstat join sqlite_master using (name) group by tbl_name")
        return {table: size for table, size in found if table in TABLES}

    def has_event(self, event: str, resource: str) -> bool:
        """Look for the event."""
        return bool(self._ask("select 1 from events where event = ? and resource_id = ? limit 1", event, resource))

    def move(self, begun: datetime, ended: datetime, back: timedelta) -> None:
        """Write the new times as Prefect writes them, to the microsecond and without a zone."""
        within = [f"{moment:%Y-%m-%d %H:%M:%S.%f}" for moment in (begun, ended)]
        for table, column in AGES:
            self._ask(
                f"update {table} set {column} = strftime('%Y-%m-%d %H:%M:%f', {column}, ?) || '000' "
                f"where {column} >= ? and {column} < ?",
                f"-{back.days} days",
                *within,
            )

    def older(self, table: str, days: int) -> int:
        """Count the rows."""
        sql = f"select count(*) from {table} where occurred < strftime('%Y-%m-%d %H:%M:%f', 'now', ?)"
        return int(self._ask(sql, f"-{days} days")[0][0])

    def orphans(self) -> int:
        """Count the rows."""
        return int(self._ask(ORPHANS)[0][0])

    def compact(self) -> None:
        """Write the file anew."""
        self._ask("vacuum")

    def _tables(self) -> list[str]:
        there = {name for (name,) in self._ask("select name from sqlite_master where type = 'table'")}
        return [table for table in TABLES if table in there]

    def _ask(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        # In no transaction of Python's: a vacuum must be in none.
        with closing(sqlite3.connect(self._file, timeout=60, isolation_level=None)) as connection:
            return connection.execute(sql, values).fetchall()


class Postgres:
    """A PostgreSQL of its own."""

    name = "PostgreSQL"

    def __init__(self) -> None:
        self._server = PostgreSQL()

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)

    def settings(self) -> dict[str, str]:
        """Where it is, and the password."""
        return self._server.settings()

    def rows(self) -> dict[str, int]:
        """Count the rows."""
        return {table: self._server.ask(f"select count(*) from {table}")[0][0] for table in self._tables()}

    def size(self) -> int:
        """Return what PostgreSQL says."""
        ((size,),) = self._server.ask("select pg_database_size(current_database())")
        return int(size)

    def sizes(self) -> dict[str, int]:
        """Return what PostgreSQL says of each table, with its indexes and long values."""
        return {table: self._server.ask(f"select pg_total_relation_size('{table}')")[0][0] for table in self._tables()}

    def has_event(self, event: str, resource: str) -> bool:
        """Look for the event."""
        return bool(
            self._server.ask("select 1 from events where event = $1 and resource_id = $2 limit 1", event, resource)
        )

    def move(self, begun: datetime, ended: datetime, back: timedelta) -> None:
        """Write the new times."""
        for table, column in AGES:
            self._server.ask(
                f"update {table} set {column} = {column} - $1::interval where {column} >= $2 and {column} < $3",
                back,
                begun,
                ended,
            )

    def older(self, table: str, days: int) -> int:
        """Count the rows."""
        sql = f"select count(*) from {table} where occurred < now() - $1::interval"
        return int(self._server.ask(sql, timedelta(days=days))[0][0])

    def orphans(self) -> int:
        """Count the rows."""
        return int(self._server.ask(ORPHANS)[0][0])

    def compact(self) -> None:
        """Write all tables anew."""
        self._server.ask("vacuum full")

    def _tables(self) -> list[str]:
        there = {name for (name,) in self._server.ask("select tablename from pg_tables where schemaname = 'public'")}
        return [table for table in TABLES if table in there]
