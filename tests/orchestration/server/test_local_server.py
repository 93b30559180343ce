"""The server that `imageferry server` starts: its environment, and what is said where it cannot start."""

import os
import sys
from pathlib import Path

import pytest

from orchestration.server import local_server
from orchestration.server.auth_string import auth_file
from orchestration.server.local_server import lead_to_server, run_local_server, start_local_server
from orchestration.server.own_server import ServerError, SetupError
from orchestration.server.prefect_settings import LEASES, RETENTION
from testkit.processes import free_port

AUTH = "PREFECT_SERVER_API_AUTH_STRING"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, and a Prefect home of this test alone."""
    for name in list(os.environ):
        if name.startswith("PREFECT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def started_with(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give the environment with which the server takes the place of this process."""
    found: list[dict[str, str]] = []
    monkeypatch.setattr(os, "execve", lambda path, words, environment: found.append(environment))
    monkeypatch.setattr(os, "umask", lambda mode: found.append({"umask": oct(mode)}))
    run_local_server(4200)
    umask, environment = found
    assert umask == {"umask": "0o77"}
    return environment


def test_it_asks_for_a_string_and_lets_no_other_page_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = started_with(monkeypatch)
    assert environment[AUTH] == auth_file(home, 4200).read_text().strip()
    assert environment["PREFECT_API_AUTH_STRING"] == environment[AUTH]
    assert environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4200,http://localhost:4200"
    assert (LEASES | RETENTION).items() <= environment.items()


@pytest.mark.parametrize(("given", "taken"), [("a:b", "a:b"), ("", None)])
def test_a_string_of_the_user_stands_and_an_empty_one_means_none(
    home: Path, monkeypatch: pytest.MonkeyPatch, given: str, taken: str | None
) -> None:
    monkeypatch.setenv(AUTH, given)
    monkeypatch.setenv("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", "https://mine.example")
    environment = started_with(monkeypatch)
    assert environment.get(AUTH) == taken
    assert environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == "https://mine.example"
    assert not auth_file(home, 4200).exists()


def test_deploy_and_worker_find_the_server_and_its_string(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    string = started_with(monkeypatch)[AUTH]
    environment = {"PREFECT_HOME": str(home)}
    lead_to_server(environment, home)
    assert environment == {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": "http://127.0.0.1:4200/api",
        "PREFECT_API_AUTH_STRING": string,
    }
    with pytest.raises(SetupError, match="cannot be written"):
        lead_to_server({"PREFECT_HOME": str(auth_file(home, 4200))}, home)


def test_a_server_that_is_gone_is_no_hindrance_and_one_that_cannot_start_is_reported_with_its_log(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The number is another process's by now.
    (home / "server.pid").write_text("1")
    code = "print('ValueError: no luck'); print('ERROR: Exiting.'); raise SystemExit(3)"
    monkeypatch.setattr(local_server, "_command", lambda port: [sys.executable, "-c", code])
    port = free_port()
    log = home / f"imageferry-server-{port}.log"
    with pytest.raises(ServerError) as raised:
        start_local_server(port)
    wanted = f"Prefect's server did not start at http://127.0.0.1:{port}: ValueError: no luck (its log: {log})"
    assert str(raised.value) == wanted
    assert not (home / "server.pid").exists()


def test_a_server_of_the_same_home_that_runs_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "server.pid").write_text("4711")
    monkeypatch.setattr(local_server, "_is_server", lambda pid: pid == 4711)
    with pytest.raises(ServerError, match=rf"with the folder {home} is running already .process 4711.: stop it with"):
        start_local_server(free_port())
