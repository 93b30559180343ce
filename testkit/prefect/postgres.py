"""A PostgreSQL of its own on a free port, as Debian packages it, with an empty database for Prefect."""

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import asyncpg  # type: ignore[import-untyped] # Prefect brings it

from testkit.processes import MissingProgram, free_port

# Seconds in which it must answer once it was started.
START_LIMIT = 30

# The user that owns the database and that Prefect's server logs in as.
USER = "prefect"


class PostgreSQL:
    """A server whose data is in a folder of its own, gone when the context is left; it wants its `.password`."""

    def __init__(self) -> None:
        self.password = f"p@ss/{secrets.token_urlsafe(12)}%"
        self._programs = _programs()
        self._folder = Path()
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def settings(self) -> dict[str, str]:
        """Return the settings with which Prefect's server finds the database: a password needs no escaping in these."""
        return {
            "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
            "PREFECT_SERVER_DATABASE_HOST": "127.0.0.1",
            "PREFECT_SERVER_DATABASE_PORT": str(self._port),
            "PREFECT_SERVER_DATABASE_USER": USER,
            "PREFECT_SERVER_DATABASE_NAME": USER,
            "PREFECT_SERVER_DATABASE_PASSWORD": self.password,
        }

    def url(self) -> str:
        """Return the address of the database, as the one setting that says it all."""
        return f"postgresql+asyncpg://{USER}:{quote(self.password, safe='')}@127.0.0.1:{self._port}/{USER}"

    def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows that a statement gives; its values stand as `$1`, `$2`."""

        async def asking() -> list[tuple[Any, ...]]:
            connection = await asyncpg.connect(
                host="127.0.0.1", port=self._port, user=USER, database=USER, password=self.password
            )
            try:
                return [tuple(row) for row in await connection.fetch(sql, *values)]
            finally:
                await connection.close()

        return asyncio.run(asking())

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="imageferry-postgres-"))
        try:
            self._make()
            self._start()
            self._wait_until_it_answers()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _make(self) -> None:
        password = self._folder / "password"
        password.write_text(self.password)
        if user := _other_user().get("user"):
            for path in (self._folder, password):
                shutil.chown(path, user)
        words = ["--pgdata", str(self._folder / "data"), "--username", USER, "--pwfile", str(password)]
        # The locale of the C library is there on every machine, and what a machine that fails loses is of no worth.
        words += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run(
            [self._programs / "initdb", *words], **_other_user(), cwd=self._folder, check=True, capture_output=True
        )

    def _start(self) -> None:
        self._port = free_port()
        # One whose tests were killed should not outlive them. SIGINT ends it without waiting for its clients.
        guard = [path, "--pdeathsig", "INT"] if (path := shutil.which("setpriv")) else []
        given = {"port": self._port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        words = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*guard, self._programs / "postgres", "-D", self._folder / "data", *words],
                **_other_user(),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _wait_until_it_answers(self) -> None:
        begun = time.monotonic()
        while time.monotonic() - begun < START_LIMIT and self._process is not None and self._process.poll() is None:
            try:
                # The database of the user's name, where clients of that user go.
                subprocess.run(
                    [self._programs / "createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", USER, USER],
                    env={"PGPASSWORD": self.password, "PATH": os.environ.get("PATH", "")},
                    check=True,
                    capture_output=True,
                )
            except subprocess.CalledProcessError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"PostgreSQL does not answer: {self._log.read_text()[-2000:]}")

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _programs() -> Path:
    """Find the folder of its programs. Raises ``MissingProgram``."""
    if path := shutil.which("postgres"):
        return Path(path).resolve().parent
    # Debian has several versions beside each other, none on PATH.
    found = {int(path.parts[-3]): path.parent for path in Path("/usr/lib/postgresql").glob("[0-9]*/bin/postgres")}
    if not found:
        raise MissingProgram("postgres is not installed: apt-get install postgresql")
    return found[max(found)]


def _other_user() -> dict[str, Any]:
    """Return what a process is started with: PostgreSQL refuses to run as root, and Debian has a user for it."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        raise MissingProgram("there is no user postgres: apt-get install postgresql") from None
    return {"user": user.pw_name, "group": user.pw_gid, "extra_groups": []}
