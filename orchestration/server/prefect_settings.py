"""Prefect's settings for a run on the command line: what the user has set stands, the rest is made to fit.

Nothing here imports prefect, which takes seconds: the environment is ready before it does.
"""

from __future__ import annotations

import contextlib
import stat
import tempfile
import tomllib
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

# For the process that runs the flow.
CLIENT_DEFAULTS = {
    # Thousands of lines "Finished in state Completed()" help nobody, and each is a row in the database.
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "WARNING",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "imageferry",
    # The plan begins before there is a flow run that its lines could belong to.
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}

# For every server that is started from here.
SERVER_DEFAULTS = {
    # One commit a message is 44 ms a task run, and what is not written at the end is lost.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
}

# For a server that stays: how long it keeps runs and events, as ISO 8601 writes it. Of events it refuses mere seconds.
RETENTION = {
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": "P90D",
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P2D",
}

# For a server that stays: the slots of a deployment outlast its restart. By itself it keeps in memory who has them, and
# the slot of a run that died with it is taken for ever.
LEASES = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}

# What counts for a run's own server too, of the settings that the user has made for servers: they belong to the
# database. All others (a base path, a message broker, an authentication) are for the server that the user runs.
OWN_SERVER_KEEPS = (
    "PREFECT_SERVER_DATABASE_",
    "PREFECT_API_DATABASE_",
    "PREFECT_SQLALCHEMY_",
    "PREFECT_SERVER_ENCRYPTION_KEY",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_",
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD",
    "PREFECT_EVENTS_RETENTION_PERIOD",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL",
)


def prefect_home(environment: Mapping[str, str], folder: Path | None = None) -> Path:
    """Return Prefect's folder, where its profiles and its SQLite database are.

    It is set in the environment or in a file of ``folder`` (the current directory). Raises ``RuntimeError`` where none
    is set and this user has no home.
    """
    folder = folder or Path.cwd()
    name = "PREFECT_HOME"
    return folder / Path(environment.get(name) or _in_files(folder).get(name) or "~/.prefect").expanduser()


def api_url(environment: Mapping[str, str], folder: Path) -> str | None:
    """Return the API of the Prefect server that the user has set, None where none is."""
    return user_settings(environment, folder).get("PREFECT_API_URL") or None


def user_settings(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the settings of Prefect that the user has set, by their names in the environment.

    Where several set one, the first counts, as with Prefect itself: the environment; ``.env``, ``prefect.toml`` and
    ``pyproject.toml`` of ``folder``; the active profile.
    """
    files = _in_files(folder)
    # An empty one counts: it takes away what a file sets.
    given = {name: value for name, value in environment.items() if name.startswith("PREFECT_")}
    path = _profiles_path(environment, folder, files)
    document = _read(path) if path else {}
    active = environment.get("PREFECT_PROFILE") or document.get("active", "")
    profile = {name: str(value) for name, value in _table(document, "profiles", active).items()}
    return profile | files | given


def settings_problem(environment: Mapping[str, str], folder: Path) -> str:
    """Say in words why Prefect cannot use its folder or the files of its settings; empty where it can.

    Prefect itself ends with a traceback there.
    """
    try:
        home = prefect_home(environment, folder)
    except RuntimeError:
        return "this user has no home: set PREFECT_HOME to a folder for Prefect's database"
    path = _profiles_path(environment, folder, _in_files(folder))
    for file in filter(None, (path, folder / "prefect.toml", folder / "pyproject.toml")):
        try:
            tomllib.loads(file.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            return f"{file} cannot be read as TOML: {error}"
        except OSError:
            # It is not there, or it is no file: Prefect does without.
            continue
    return _folder_problem(home)


def own_server_settings(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return those of the user's settings that count for a run's own server too, by their names in the environment."""
    found = user_settings(environment, folder)
    return {name: value for name, value in found.items() if value and name.startswith(OWN_SERVER_KEEPS)}


def close_database(home: Path) -> None:
    """Take from other users what they may do with an SQLite database of before: the blocks' key is in it."""
    for path in home.glob("prefect.db*"):
        with contextlib.suppress(OSError):
            path.chmod(path.stat().st_mode & ~stat.S_IRWXO)


def set_defaults(environment: MutableMapping[str, str], defaults: Mapping[str, str]) -> None:
    """Set in the environment what the user has not set, there or elsewhere."""
    settled = user_settings(environment, Path.cwd())
    for name, value in defaults.items():
        if name not in settled:
            environment[name] = value


def _folder_problem(home: Path) -> str:
    """Say why the folder cannot be made, or no file in it; empty where both can."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return ""
    except OSError as error:
        return f"Prefect's folder {home} cannot be written ({error.strerror}): set PREFECT_HOME to one that can"


def _in_files(folder: Path) -> dict[str, str]:
    return (
        _flatten(_table(_read(folder / "pyproject.toml"), "tool", "prefect"))
        | _flatten(_read(folder / "prefect.toml"))
        | _read_dotenv(folder / ".env")
    )


def _profiles_path(environment: Mapping[str, str], folder: Path, files: Mapping[str, str]) -> Path | None:
    """Return the file of the profiles, None where there is no folder that it could be in."""
    if profiles := environment.get("PREFECT_PROFILES_PATH") or files.get("PREFECT_PROFILES_PATH"):
        return folder / profiles
    try:
        return prefect_home(environment, folder) / "profiles.toml"
    except RuntimeError:
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        # Absent, or broken: `settings_problem` reports that.
        return {}


def _read_dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415 - few folders have such a file

    return {name.upper(): value for name, value in dotenv_values(path).items() if value is not None}


def _table(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        inner = document.get(key)
        document = inner if isinstance(inner, dict) else {}
    return document


def _flatten(document: dict[str, Any], prefix: str = "PREFECT") -> dict[str, str]:
    """Return the settings of nested tables, ``api.url`` as ``PREFECT_API_URL``."""
    flat: dict[str, str] = {}
    for key, value in document.items():
        name = f"{prefix}_{key}".upper()
        flat |= _flatten(value, name) if isinstance(value, dict) else {name: str(value)}
    return flat
