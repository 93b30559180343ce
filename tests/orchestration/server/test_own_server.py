"""Which Prefect server a run takes, and what is left of one of its own."""

import os
from pathlib import Path

import pytest

from orchestration.server.own_server import LocalServer, find_or_start_server
from testkit.killing import wait_until
from testkit.prefect.api import PrefectApi
from testkit.processes import free_port


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, and a Prefect home of this test alone."""
    for name in list(os.environ):
        if name.startswith("PREFECT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("before", [None, "unreachable"])
def test_the_environment_is_as_it_was_once_a_server_of_its_own_is_closed(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    url = before and f"http://127.0.0.1:{free_port()}/api"
    if url:
        monkeypatch.setenv("PREFECT_API_URL", url)
    with find_or_start_server() as server:
        assert isinstance(server, LocalServer)
        assert os.environ["PREFECT_API_URL"] == server.api_url
        assert find_or_start_server() is server
        assert server.notice == (f"no Prefect server at {url}; a local one keeps this run's history" if url else "")
    assert os.environ.get("PREFECT_API_URL") == url
    server.close()
    assert os.environ.get("PREFECT_API_URL") == url
    # It ends by itself: its standard input has.
    wait_until(lambda: server._process.poll() is not None, "the end of the server")


def test_a_closed_server_is_not_taken_again() -> None:
    with find_or_start_server() as first:
        pass
    with find_or_start_server() as second:
        assert second is not first
    assert isinstance(first, LocalServer)
    assert isinstance(second, LocalServer)
    both = (first._process, second._process)
    wait_until(lambda: all(process.poll() is not None for process in both), "the end of the servers")


def test_a_server_of_the_user_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, prefect_server: PrefectApi) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_server.url)
    with find_or_start_server() as server:
        assert not isinstance(server, LocalServer)
        server.wait_until_ready(lambda seconds: None)
    assert os.environ["PREFECT_API_URL"] == prefect_server.url
    assert prefect_server.send("GET", "health").status_code == 200


def test_modules_of_the_current_directory_are_not_its_own(home: Path, ready_home: Path) -> None:
    for name in ("json.py", "uvicorn.py", "orchestration.py", "prefect.py"):
        (home / name).write_text("raise ImportError('it is the user\\'s')\n")
    os.environ["PREFECT_HOME"] = str(ready_home)
    with find_or_start_server() as server:
        server.wait_until_ready(lambda seconds: None)
    assert isinstance(server, LocalServer)
    wait_until(lambda: server._process.poll() is not None, "the end of the server")
