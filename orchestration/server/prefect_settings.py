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
    """Return the Prefect server that the user has set: in the environment, in the folder's files or in a profile."""
    return (
        environment.get("PREFECT_API_URL")
        or _table(_read(folder / "prefect.toml"), "api").get("url")
        or _table(_read(folder / "pyproject.toml"), "tool", "prefect", "api").get("url")
        or profile(environment).get("PREFECT_API_URL")
    )


def profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of the user's active Prefect profile; empty where there is none."""
    home = prefect_home(environment)
    document = _read(Path(environment.get("PREFECT_PROFILES_PATH") or home / "profiles.toml"))
    name = environment.get("PREFECT_PROFILE") or document.get("active", "")
    return {key: str(value) for key, value in _table(document, "profiles", name).items()}


def set_defaults(environment: MutableMapping[str, str], defaults: dict[str, str]) -> None:
    """Set what neither the environment nor the active profile sets."""
    settled = profile(environment)
    for name, value in defaults.items():
        if name not in settled:
            environment.setdefault(name, value)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError):
        # Absent, or broken: then Prefect itself says so.
        return {}


def _table(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        inner = document.get(key)
        document = inner if isinstance(inner, dict) else {}
    return document
