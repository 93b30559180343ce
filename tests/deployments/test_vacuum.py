"""Old runs taken out of Prefect's database, with all that hangs on them."""

import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from testkit.command_line import CommandLine, insecure
from testkit.prefect.api import PrefectApi
from testkit.prefect.programs import Programs
from testkit.processes import free_port
from testkit.registries.inprocess import FakeRegistry

# One process has the server with the deployments, and its worker: to set them up takes half a minute.
pytestmark = pytest.mark.xdist_group("deployments")


def run(command: CommandLine, source: FakeRegistry, destination: FakeRegistry, tag: str) -> str:
    """Copy an image, and give the flow run's id."""
    source.image("demo/app", tag, [f"layer {tag}".encode()])
    images = {f"{source.host}/demo/app:{tag}": f"{destination.host}/mirror/app"}
    command.config({"auth": insecure(source.host, destination.host), "images": images})
    finished = command.run("--report", "report.json")
    assert finished.status == 0, finished.both
    return str(command.report()["flow_run_id"])


def age(database: Path, identities: list[str], days: int) -> None:
    """Move the ends of flow runs into the past."""
    ended = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%d %H:%M:%S.000000")
    with sqlite3.connect(database, timeout=60) as connection:
        for identity in identities:
            changed = connection.execute("update flow_run set end_time = ? where id = ?", (ended, identity))
            assert changed.rowcount == 1
    connection.close()


def rows(database: Path, table: str, identity: str) -> int:
    """Count what a table has of a flow run."""
    column = "id" if table == "flow_run" else "flow_run_id"
    with sqlite3.connect(database, timeout=60) as connection:
        (count,) = connection.execute(f"select count(*) from {table} where {column} = ?", (identity,)).fetchone()
    connection.close()
    return int(count)


def test_old_runs_go_with_all_that_hangs_on_them_and_young_ones_stay(
    command: CommandLine, programs: Programs, prefect_server: PrefectApi, prefect_home: Path,
    fake_source: FakeRegistry, fake_destination: FakeRegistry,
) -> None:  # fmt: skip
    database = prefect_home / "prefect.db"
    old, young = (run(command, fake_source, fake_destination, tag) for tag in ("v1", "v2"))
    (subflow,) = (each["id"] for each in prefect_server.subflows(old))
    age(database, [old, subflow], 91)
    age(database, [young], 89)
    tables = ("flow_run", "task_run", "flow_run_state", "artifact", "log")
    assert all(rows(database, table, old) for table in tables[:-1])
    kept = {table: rows(database, table, young) for table in tables}

    artifacts = rows(database, "artifact", old) + rows(database, "artifact", subflow)
    assert artifacts >= 3

    counted = programs.run("deployments.vacuum", "--older-than", "90d", "--dry-run")
    assert counted.status == 0, counted.both
    assert counted.out.startswith("2 runs ended before"), counted.both
    assert rows(database, "flow_run", old) == 1

    finished = programs.run("deployments.vacuum", "--older-than", "90d")
    assert finished.status == 0, finished.both
    assert finished.out.startswith(f"2 runs and {artifacts} artifacts deleted"), finished.both
    begun = time.monotonic()
    # The server deletes logs some time after their run.
    while left := [table for each in (old, subflow) for table in tables if rows(database, table, each)]:
        assert time.monotonic() - begun < 60, left
        time.sleep(0.2)
    assert {table: rows(database, table, young) for table in tables} == kept


def test_no_other_database_is_vacuumed_than_the_one_that_was_meant(tmp_path: Path) -> None:
    finished = Programs(tmp_path, f"http://127.0.0.1:{free_port()}/api").run("deployments.vacuum", "--older-than", "1d")
    assert finished.status == 1, finished.both
    assert "no Prefect server at http://127.0.0.1" in finished.err
    assert "nothing is deleted" in finished.err


@pytest.mark.parametrize("given", ["90", "soon", "-1d"])
def test_a_time_that_is_none_is_refused(programs: Programs, given: str) -> None:
    finished = programs.run("deployments.vacuum", f"--older-than={given}")
    assert finished.status != 0
    assert "--older-than" in finished.both
    assert "Traceback" not in finished.both
