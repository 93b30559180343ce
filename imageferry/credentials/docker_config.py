"""The credentials that docker, podman and skopeo keep for the user: ``config.json`` and ``auth.json``."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import functools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from imageferry.credentials.credential_helper import ask_helper, password_access
from imageferry.errors import InvalidReference
from imageferry.model import RegistryAccess
from imageferry.reference import DOCKER_HUB
from imageferry.registry_key import lookup_keys, normalize_key

# Where podman keeps the logins of a user without a runtime folder, each under the user's number.
RUNTIME_FOLDER = Path("/run/containers")

# Under this name docker keeps what it knows of Docker Hub.
_HUB_SERVER = "https://index.docker.io/v1/"


class DockerCredentials:
    """The user's docker and podman files and their credential helpers, each read and asked once a run."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._answers: dict[tuple[str, str], asyncio.Task[RegistryAccess | None]] = {}

    async def access_to(self, registry: str, repository: str) -> RegistryAccess | None:
        """Return the access from the first file that knows ``repository`` of ``registry``, or None.

        A file that does not exist or cannot be read is skipped. Raises ``CredentialHelperError``.
        """
        for content in self._contents:
            access = await self._access_from(content, registry, repository)
            if access is not None:
                return access
        return None

    @functools.cached_property
    def _contents(self) -> list[dict[str, Any]]:
        return [content for path in _list_files(self._environment) if (content := _read(path)) is not None]

    async def _access_from(self, content: dict[str, Any], registry: str, repository: str) -> RegistryAccess | None:
        """Ask the registry's own helper, then the entries of the file, then the helper for all."""
        helpers = _normalize_keys(content.get("credHelpers"))
        auths = _normalize_keys(content.get("auths"))
        for key in lookup_keys(f"{registry}/{repository}"):
            access = None
            if key in helpers and isinstance(helpers[key][1], str):
                access = await self._ask(helpers[key][1], _server_name(key, helpers[key][0]))
            if access is None and key in auths:
                access = _parse_entry(auths[key][1])
            if access is not None:
                return access
        store = content.get("credsStore")
        if isinstance(store, str) and store:
            # docker leaves an empty entry for what the helper keeps: its key is the helper's name for it.
            written = auths[registry][0] if registry in auths else registry
            return await self._ask(store, _server_name(registry, written))
        return None

    async def _ask(self, helper: str, server: str) -> RegistryAccess | None:
        key = (helper, server)
        if key not in self._answers:
            self._answers[key] = asyncio.create_task(ask_helper(helper, server, self._environment))
        return await asyncio.shield(self._answers[key])


def _list_files(environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the files in their order of precedence: the one that was named, docker's, podman's own.

    podman's are those of containers-auth.json(5), in its order: until logout or reboot, then for good.
    """
    named = environment.get("REGISTRY_AUTH_FILE")
    if named:
        yield Path(named)
    folder = environment.get("DOCKER_CONFIG")
    home = environment.get("HOME")
    if folder:
        yield Path(folder) / "config.json"
    elif home:
        yield Path(home) / ".docker" / "config.json"
    if environment.get("XDG_RUNTIME_DIR"):
        yield Path(environment["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
    yield RUNTIME_FOLDER / str(os.getuid()) / "auth.json"
    settings = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    if settings:
        yield Path(settings) / "containers" / "auth.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _normalize_keys(entries: object) -> dict[str, tuple[str, Any]]:
    """Return each entry with its key as written, by its normal key; keys that are no registry's are left out."""
    found: dict[str, tuple[str, Any]] = {}
    for written, entry in entries.items() if isinstance(entries, dict) else ():
        with contextlib.suppress(InvalidReference):
            found.setdefault(normalize_key(written), (written, entry))
    return found


def _parse_entry(entry: object) -> RegistryAccess | None:
    """Return the access of an entry of ``auths``; None for an empty one and for one that cannot be read."""
    if not isinstance(entry, dict):
        return None
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return RegistryAccess(identity_token=SecretStr(token))
    username, password = entry.get("username"), entry.get("password")
    if isinstance(entry.get("auth"), str) and entry["auth"]:
        username, password = _decode_auth(entry["auth"])
    return password_access(username, password)


def _decode_auth(auth: str) -> tuple[str | None, str | None]:
    """Split the Base64 of ``username:password``; a pair of None if it is none."""
    try:
        text = base64.b64decode(auth, validate=True).decode()
    except (binascii.Error, ValueError):
        return None, None
    username, colon, password = text.partition(":")
    # docker pads with NUL bytes, and strips them as this does.
    return (username, password.strip("\0")) if colon else (None, None)


def _server_name(key: str, written: str) -> str:
    """Return the name under which a helper keeps a registry."""
    return _HUB_SERVER if key == DOCKER_HUB else written
