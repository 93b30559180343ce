"""Prefect on PostgreSQL: the server that a run starts for itself, and one that runs."""

from pathlib import Path

from testkit.command_line import CommandLine, insecure
from testkit.killing import fill, wait_until
from testkit.prefect.api import PrefectApi
from testkit.prefect.postgres import PostgreSQL
from testkit.prefect.programs import Programs
from testkit.prefect.server import running_server
from testkit.registries.inprocess import FakeRegistry


def copied(command: CommandLine, source: FakeRegistry, destination: FakeRegistry, rules: int) -> str:
    """Copy what a registry has, and give the flow run's id."""
    images = {f"{source.host}/demo/app{rule}": f"{destination.host}/mirror/app{rule}" for rule in range(rules)}
    command.config({"auth": insecure(source.host, destination.host), "images": images})
    finished = command.run("--report", "report.json")
    assert finished.status == 0, finished.both
    assert "incomplete" not in finished.err
    return str(command.report()["flow_run_id"])


def check_record(api: PrefectApi, identity: str, images: int) -> None:
    """Look for a task run of each image, and for the end of all."""
    task_runs = api.task_runs(identity)
    assert sum(run["name"].startswith("copy ") for run in task_runs) == images
    assert {run["state_type"] for run in task_runs} == {"COMPLETED"}
    assert api.flow_run(identity)["state_type"] == "COMPLETED"


def rows(postgres: PostgreSQL, identity: str) -> dict[str, int]:
    """Count what each table has of a flow run."""
    tables = {"flow_run": "id"} | dict.fromkeys(("task_run", "flow_run_state", "artifact", "log"), "flow_run_id")
    counted = {}
    for table, column in tables.items():
        ((counted[table],),) = postgres.ask(f"select count(*) from {table} where {column}::text = $1", identity)
    return counted


def test_runs_are_recorded_whole_in_postgresql_and_taken_out_whole(
    tmp_path: Path, fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fill(fake_source, 1, 5)
    with PostgreSQL() as postgres:
        command = CommandLine(tmp_path)
        # The server that this run starts for itself makes the tables.
        command.more["PREFECT_API_DATABASE_CONNECTION_URL"] = postgres.url()
        young = copied(command, fake_source, fake_destination, 1)
        assert not list((tmp_path / "prefect").glob("*.db*"))
        fill(fake_source, 2, 30)
        with running_server(tmp_path, postgres.settings()) as server:
            command = CommandLine(tmp_path, server.api.url)
            old = copied(command, fake_source, fake_destination, 2)
            check_record(server.api, young, 5)
            check_record(server.api, old, 55)
            old_runs = [old, *(run["id"] for run in server.api.subflows(old))]
            age(postgres, old_runs)
            kept = rows(postgres, young)
            assert all(kept.values())

            artifacts = server.api.artifact_count(*old_runs)
            assert artifacts >= 4
            finished = Programs(tmp_path, server.api.url).run("deployments.vacuum", "--older-than", "90d")
            assert finished.status == 0, finished.both
            assert finished.out.startswith(f"3 runs and {artifacts} artifacts deleted"), finished.both
            # The server deletes logs some time after their run.
            wait_until(lambda: not any(sum(rows(postgres, run).values()) for run in old_runs), "the end of the rows")
            assert rows(postgres, young) == kept
        assert postgres.password not in (tmp_path / "server.log").read_text() + finished.both


def age(postgres: PostgreSQL, runs: list[str]) -> None:
    """Move the ends of flow runs into the past."""
    postgres.ask("update flow_run set end_time = end_time - interval '91 days' where id::text = any($1)", runs)
    assert postgres.ask("select count(*) from flow_run where end_time < now() - interval '90 days'") == [(len(runs),)]
