"""Which Prefect server a run takes, and what is left of one of its own."""

import os
import re
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from orchestration.server.auth_string import make_auth_string
from orchestration.server.health import ask_health
from orchestration.server.own_server import (
    LocalServer,
    ServerError,
    SetupError,
    configured_server,
    find_or_start_server,
    is_gone_for_good,
)
from orchestration.server.startup_lock import StartupLock
from testkit.killing import wait_until
from testkit.prefect.api import PrefectApi
from testkit.processes import free_port
from tests.orchestration.server.test_health import answering


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
        notice = f"no Prefect server at {url} (connection refused); a local one keeps this run's history"
        assert server.notice == (notice if url else "")
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


def test_it_answers_its_run_alone_whatever_the_user_has_set_for_servers(
    home: Path, ready_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is meant for a server that the user runs, in each place where it may be.
    monkeypatch.setenv("PREFECT_HOME", str(ready_home))
    monkeypatch.setenv("PREFECT_SERVER_API_BASE_PATH", "/elsewhere")
    monkeypatch.setenv("PREFECT_MESSAGING_BROKER", "no.such.broker")
    monkeypatch.setenv("PREFECT_CLIENT_CUSTOM_HEADERS", '{"Authorization": "Bearer x"}')
    (home / ".env").write_text("PREFECT_SERVER_API_AUTH_STRING=the:users\n")
    (home / "prefect.toml").write_text("[server.docket]\nurl = 'redis://127.0.0.1:9'\n")
    (ready_home / "prefect.db").chmod(0o644)
    before = dict(os.environ)
    with StartupLock(ready_home) as lock, find_or_start_server() as server:
        assert isinstance(server, LocalServer)
        # Another server of this home is starting: it waits.
        waits = re.compile(rf"-> FLOCK .* {server._process.pid} ")
        wait_until(lambda: waits.search(Path("/proc/locks").read_text()), "the server at the lock")
        assert ask_health(server.api_url, 0.1) is None
        lock.release()
        server.wait_until_ready(lambda seconds: None)
        address, secret = f"{server.api_url}/flows/count", os.environ["PREFECT_API_AUTH_STRING"]
        assert os.environ["PREFECT_CLIENT_CUSTOM_HEADERS"] == "{}"
        assert httpx.post(address).status_code == 401
        assert httpx.post(address, auth=("the", "users")).status_code == 401
        mine = httpx.post(address, auth=httpx.BasicAuth(*secret.split(":")), headers={"Origin": "http://evil.example"})
        assert mine.status_code == 200
        assert "access-control-allow-origin" not in mine.headers
        words = Path(f"/proc/{server._process.pid}/cmdline").read_text()
        assert secret.split(":")[1] not in words
    assert dict(os.environ) == before
    wait_until(lambda: server._process.poll() is not None, "the end of the server")
    assert stat.S_IMODE((ready_home / "memo_store.toml").stat().st_mode) == 0o600
    assert not (ready_home / "prefect.db").stat().st_mode & stat.S_IRWXO
    with closing(sqlite3.connect(ready_home / "prefect.db")) as database:
        assert secret.split(":")[1] not in "".join(database.iterdump())


def test_one_that_has_ended_does_not_come_back() -> None:
    with find_or_start_server() as server:
        assert isinstance(server, LocalServer)
        assert not is_gone_for_good(server.api_url)
        server._process.kill()
        wait_until(lambda: is_gone_for_good(server.api_url), "the end of the server")
        with pytest.raises(ServerError, match="Prefect's server cannot start: it said nothing"):
            server.wait_until_ready(lambda seconds: None)
    assert not is_gone_for_good(server.api_url), "it is nobody's any more"


def test_a_folder_that_cannot_be_written_is_reported_before_anything_starts(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").write_text("no folder")
    monkeypatch.setenv("PREFECT_HOME", str(home / "file" / "prefect"))
    with pytest.raises(SetupError, match=f"{home}/file/prefect cannot be written .Not a directory.: set PREFECT_HOME"):
        find_or_start_server()


def test_a_server_of_the_user_that_refuses_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(401) as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        with find_or_start_server() as server:
            assert not server.is_substitute
            assert server.notice == (
                f"the Prefect server at {url} cannot be used: it answers 401: "
                "set PREFECT_API_AUTH_STRING or PREFECT_API_KEY to what it expects"
            )


def test_a_server_that_was_started_from_here_is_used_with_its_string(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(200) as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        string = make_auth_string(home, urlsplit(url).port or 0)
        with find_or_start_server():
            assert os.environ["PREFECT_API_AUTH_STRING"] == string
        assert "PREFECT_API_AUTH_STRING" not in os.environ
        with configured_server():
            assert os.environ["PREFECT_API_AUTH_STRING"] == string
