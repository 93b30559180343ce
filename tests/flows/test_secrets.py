"""Credentials stay out of everything that a run leaves."""

from pathlib import Path

from testkit.command_line import CommandLine, insecure
from testkit.registries.auth import Bearer
from testkit.registries.inprocess import FakeRegistry

PASSWORD = "planted-password-7f3a"


def test_no_secret_is_in_a_log_a_report_an_output_or_the_database(
    command: CommandLine, prefect_home: Path, fake_destination: FakeRegistry
) -> None:
    bearer = Bearer(users={"planted-user-91c2": PASSWORD})
    with FakeRegistry(auth=bearer) as source:
        source.image("demo/app", "v1", [b"layer"])
        hosts = source.host, fake_destination.host
        auth = insecure(*hosts)
        auth[hosts[0]] |= {"username": "planted-user-91c2", "password": PASSWORD}
        images = {f"{hosts[0]}/demo/app:v1,v2": f"{hosts[1]}/mirror/app"}
        command.config({"auth": auth, "images": images})
        command.more["PREFECT_LOGGING_LEVEL"] = "DEBUG"
        finished = command.run("--report", "report.json", "--log", "run.log", "--log-level", "debug")
        assert finished.status == 1, finished.both
        tokens = {entry.authorization.partition(" ")[2] for entry in source.log.entries() if entry.authorization}
    assert tokens
    (command.folder / "config.json").unlink()
    for secret in {PASSWORD, *tokens}:
        assert secret not in finished.both
        for folder in (command.folder, prefect_home):
            assert _files_with(folder, secret.encode()) == []


def _files_with(folder: Path, text: bytes) -> list[str]:
    return [str(file) for file in folder.rglob("*") if file.is_file() and text in file.read_bytes()]
