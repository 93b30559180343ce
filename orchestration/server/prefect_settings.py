"""Prefect's settings for a run on the command line: what the user has set stands, the rest is made to fit.

Nothing here imports prefect, which takes seconds: the environment is ready before it does.
"""

from __future__ import annotations

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

# For a server of our own.
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


def prefect_home(environment: Mapping[str, str]) -> Path:
    """Return Prefect's folder, where its profiles and its SQLite database are."""
    return Path(environment.get("PREFECT_HOME") or "~/.prefect").expanduser()


def api_url(environment: Mapping[str, str], folder: Path) -> str | None:
    """Return the API of the Prefect server that the user has set, None where none is."""
    return user_settings(environment, folder).get("PREFECT_API_URL") or None


def user_settings(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the settings of Prefect that the user has set, by their names in the environment.

    Where several set one, the first counts, as with Prefect itself: the environment; ``.env``, ``prefect.toml`` and
    ``pyproject.toml`` of ``folder``; the active profile.
    """
    files = (
        _flatten(_table(_read(folder / "pyproject.toml"), "tool", "prefect"))
        | _flatten(_read(folder / "prefect.toml"))
        | _read_dotenv(folder / ".env")
    )
    # An empty one counts: it takes away what a file sets.
    given = {name: value for name, value in environment.items() if name.startswith("PREFECT_")}
    profiles = environment.get("PREFECT_PROFILES_PATH") or files.get("PREFECT_PROFILES_PATH")
    document = _read(folder / profiles if profiles else prefect_home(environment) / "profiles.toml")
    active = environment.get("PREFECT_PROFILE") or document.get("active", "")
    profile = {name: str(value) for name, value in _table(document, "profiles", active).items()}
    return profile | files | given


def set_defaults(environment: MutableMapping[str, str], defaults: Mapping[str, str]) -> None:
    """Set in the environment what the user has not set, there or elsewhere."""
    settled = user_settings(environment, Path.cwd())
    for name, value in defaults.items():
        if name not in settled:
            environment[name] = value


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError):
        # Absent, or broken: then Prefect itself says so.
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
