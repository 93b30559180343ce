"""The authentication string of a Prefect server that was started from here, kept in Prefect's home.

Prefect's server answers everybody who reaches it unless it has such a string: every other user of the machine could
read all blocks, and have a worker run code.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from orchestration.server.prefect_settings import prefect_home, user_settings

# The user's name that the UI is not asked for: the whole string is its password.
_USER = "imageferry"

_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})


def auth_file(home: Path, port: int) -> Path:
    """Return the file with the string of the server at this port of this machine."""
    return home / f"imageferry-server-{port}.auth"


def make_auth_string(home: Path, port: int) -> str:
    """Return the string of the server at this port; it is made at the first call. Raises ``OSError``."""
    path = auth_file(home, port)
    if found := _read(path):
        return found
    string = f"{_USER}:{secrets.token_urlsafe(32)}"
    home.mkdir(parents=True, exist_ok=True)
    # Nobody reads half of it, and of two who make it at once the second takes the first one's.
    made = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{string}\n")
        os.link(made, path)
    except FileExistsError:
        return _read(path) or string
    finally:
        made.unlink()
    return string


def find_auth_string(url: str, environment: Mapping[str, str], folder: Path) -> str | None:
    """Return the string for the API at ``url`` where that is a server of this machine with a file in Prefect's home.

    None where the user has set credentials: an empty one means that none are wanted.
    """
    settings = user_settings(environment, folder)
    if not {"PREFECT_API_AUTH_STRING", "PREFECT_API_KEY"}.isdisjoint(settings):
        return None
    try:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname not in _THIS_MACHINE or parts.port is None:
            return None
        return _read(auth_file(prefect_home(environment, folder), parts.port)) or None
    except (ValueError, RuntimeError):
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
