"""A Prefect server for a session's tests, and a command line that uses it."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from testkit.command_line import ROOT, CommandLine
from testkit.prefect.api import PrefectApi
from testkit.prefect.programs import Programs
from testkit.prefect.server import PrefectServer, running_server


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the session's Prefect server, its database in it."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def prefect_server(prefect_home: Path) -> Iterator[PrefectApi]:
    """The session's Prefect server."""
    with running_server(prefect_home) as server:
        yield server.api


@pytest.fixture
def ready_home(tmp_path_factory: pytest.TempPathFactory, prefect_home: Path, prefect_server: PrefectApi) -> Path:
    """A Prefect home of this test alone, with its database made: that takes longer than most runs."""
    home = tmp_path_factory.mktemp("ready")
    copy_database(prefect_home, home)
    return home


def copy_database(prefect_home: Path, home: Path) -> None:
    """Copy Prefect's database from one home to another."""
    with (
        closing(sqlite3.connect(prefect_home / "prefect.db")) as made,
        closing(sqlite3.connect(home / "prefect.db")) as copy,
    ):
        made.backup(copy)
        # The mode that Prefect gives its database.
        copy.execute("PRAGMA journal_mode = WAL")


@pytest.fixture
def mortal_server(ready_home: Path) -> Iterator[PrefectServer]:
    """A Prefect server of this test alone, to be killed, stopped or locked."""
    with running_server(ready_home) as server:
        yield server


@pytest.fixture
def command(tmp_path: Path, prefect_server: PrefectApi) -> CommandLine:
    """The command line, with the session's Prefect server."""
    return CommandLine(tmp_path, prefect_server.url)


@pytest.fixture
def without_prefect(tmp_path: Path) -> CommandLine:
    """The command line where prefect cannot be imported: what works there needs no prefect."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "prefect.py").write_text("raise ImportError('prefect is not to be imported here')")
    command = CommandLine(tmp_path)
    command.more["PYTHONPATH"] = f"{broken}{os.pathsep}{ROOT}"
    return command


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory, prefect_server: PrefectApi) -> Programs:
    """Prefect's command line and the programs of `deployments`, with the session's Prefect server."""
    return Programs(tmp_path_factory.mktemp("programs"), prefect_server.url)


@pytest.fixture(scope="session")
def deployed(programs: Programs) -> Programs:
    """The same, once the work pool, the deployments and the blocks are on the server, as `make deploy` puts them."""
    programs.deploy()
    return programs


@pytest.fixture(scope="session")
def worker(deployed: Programs) -> Iterator[Programs]:
    """The same, with a worker for the pool."""
    with deployed.running("prefect", "worker", "start", "--pool", "imageferry", until="started!"):
        yield deployed
