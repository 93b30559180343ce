"""The credentials that docker, podman and skopeo keep for the user."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import functools
import json
import os
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from imageferry.errors import ImageferryError
from imageferry.model import RegistryAccess
from imageferry.reference import DOCKER_HUB
from imageferry.registry_key import normalize_key

if TYPE_CHECKING:
    from asyncio.subprocess import Process

HELPER_TIME_LIMIT = 30.0

#: Under this name docker keeps what it knows of Docker Hub.
_HUB_SERVER = "https://index.docker.io/v1/"

_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_FOUND = "credentials not found in native keychain"
_TOKEN_USER = "<token>"  # noqa: S105 - what a helper answers as the user name of an identity token


class CredentialHelperError(ImageferryError):
    """A credential helper is missing or fails. Names it and the registry, never what it answered."""


class DockerCredentials:
    """What docker's and podman's files and their credential helpers know, each read and asked once a run."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._answers: dict[tuple[str, str], asyncio.Task[RegistryAccess | None]] = {}

    async def access_to(self, registry: str, repository: str) -> RegistryAccess | None:
        """Give what is known of ``registry`` and ``repository``, or None.

        A file that is not there or cannot be read is passed over. Raises ``CredentialHelperError``.
        """
        for content in self._contents:
            access = await self._from_file(content, registry, repository)
            if access is not None:
                return access
        return None

    @functools.cached_property
    def _contents(self) -> list[dict[str, Any]]:
        return [content for path in _files(self._environment) if (content := _content(path)) is not None]

    async def _from_file(self, content: dict[str, Any], registry: str, repository: str) -> RegistryAccess | None:
        """Ask the registry's own helper, then the entries of the file, then the helper for all."""
        helpers = _by_normal_key(content.get("credHelpers"))
        auths = _by_normal_key(content.get("auths"))
        for key in _prefixes(f"{registry}/{repository}"):
            access = None
            if key in helpers and isinstance(helpers[key][1], str):
                access = await self._ask(helpers[key][1], _server(key, helpers[key][0]))
            if access is None and key in auths:
                access = _entry(auths[key][1])
            if access is not None:
                return access
        store = content.get("credsStore")
        if isinstance(store, str) and store:
            # docker leaves an empty entry for what the helper keeps: its key is the helper's name for it.
            written = auths[registry][0] if registry in auths else registry
            return await self._ask(store, _server(registry, written))
        return None

    async def _ask(self, helper: str, server: str) -> RegistryAccess | None:
        key = (helper, server)
        if key not in self._answers:
            self._answers[key] = asyncio.create_task(_ask(helper, server, self._environment))
        return await asyncio.shield(self._answers[key])


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    """Give the files in the order in which they count: what was named, then docker's, then podman's own."""
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


def _content(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _prefixes(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition("/")[0]


def _by_normal_key(entries: object) -> dict[str, tuple[str, Any]]:
    """Give each entry with its key as written, by its normal key; keys that mean nothing are left out."""
    found: dict[str, tuple[str, Any]] = {}
    for written, entry in entries.items() if isinstance(entries, dict) else ():
        with contextlib.suppress(ImageferryError):
            found.setdefault(normalize_key(written), (written, entry))
    return found


def _entry(entry: object) -> RegistryAccess | None:
    """Read an entry of ``auths``; None for an empty one and for one that cannot be read."""
    if not isinstance(entry, dict):
        return None
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return RegistryAccess(identity_token=SecretStr(token))
    username, password = entry.get("username"), entry.get("password")
    if isinstance(entry.get("auth"), str) and entry["auth"]:
        username, password = _decoded(entry["auth"])
    return _with_password(username, password)


def _decoded(auth: str) -> tuple[str | None, str | None]:
    try:
        text = base64.b64decode(auth, validate=True).decode()
    except (binascii.Error, ValueError):
        return None, None
    username, colon, password = text.partition(":")
    # docker pads with NUL bytes, and strips them as this does.
    return (username, password.strip("\0")) if colon else (None, None)


def _with_password(username: object, password: object) -> RegistryAccess | None:
    if isinstance(username, str) and isinstance(password, str) and username and password:
        return RegistryAccess(username=SecretStr(username), password=SecretStr(password))
    return None


def _server(key: str, written: str) -> str:
    """Give the name that a helper knows a registry by."""
    return _HUB_SERVER if key == DOCKER_HUB else written


async def _ask(helper: str, server: str, environment: Mapping[str, str]) -> RegistryAccess | None:
    """Run ``docker-credential-HELPER get``; None when it has nothing for the server."""
    status, output = await _run(helper, server, environment)
    if status != 0:
        # Only this one sentence is looked for: the rest of the output may hold anything.
        if _NOT_FOUND in output:
            return None
        raise _failure(helper, server, f"ended with status {status}: try `docker login` or run it by hand")
    try:
        answer = json.loads(output)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        answer = None
    if answer is None:
        raise _failure(helper, server, "answered what is no Username and Secret in JSON")
    if username == _TOKEN_USER and isinstance(secret, str) and secret:
        return RegistryAccess(identity_token=SecretStr(secret))
    return _with_password(username, secret)


async def _run(helper: str, server: str, environment: Mapping[str, str]) -> tuple[int, str]:
    if _HELPER_NAME.fullmatch(helper) is None:
        raise _failure(helper, server, "is not the name of a helper")
    program = f"docker-credential-{helper}"
    import asyncio  # noqa: PLC0415 - a fifth of the time it takes to import this package, and seldom used

    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "get",
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.DEVNULL,
            env=dict(environment),
            start_new_session=True,
        )
    except FileNotFoundError:
        problem = "is not on the PATH: install it, or give the registry an entry under auth"
    except OSError as error:
        problem = f"cannot be run: {error.strerror or 'unknown cause'}"
    else:
        return await _answer(process, helper, server)
    raise _failure(helper, server, problem)


async def _answer(process: Process, helper: str, server: str) -> tuple[int, str]:
    from asyncio import timeout  # noqa: PLC0415 - see above

    try:
        async with timeout(HELPER_TIME_LIMIT):
            output, _ = await process.communicate(server.encode())
    except TimeoutError:
        raise _failure(helper, server, f"gave no answer in {HELPER_TIME_LIMIT:g} s") from None
    finally:
        if process.returncode is None:
            # The helper's own children too: one that keeps the pipe open would be waited for.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")


def _failure(helper: str, server: str, problem: str) -> CredentialHelperError:
    return CredentialHelperError(f"credential helper docker-credential-{helper} for {server}: {problem}")
