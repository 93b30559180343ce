"""Docker's credential helpers: the programs ``docker-credential-NAME`` (docker/docker-credential-helpers)."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from asyncio.subprocess import Process
from collections.abc import Mapping

from pydantic import SecretStr

from imageferry.errors import ImageferryError
from imageferry.model import RegistryAccess

# Seconds that a helper has for its answer: it may have to ask a server, but has no person to ask.
HELPER_TIME_LIMIT = 30.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# What a helper writes for a server that it does not know (credentials.NewErrCredentialsNotFound).
_NOT_FOUND = "credentials not found in native keychain"
_TOKEN_USER = "<token>"  # noqa: S105 - what a helper answers as the user name of an identity token


class CredentialHelperError(ImageferryError):
    """A credential helper is missing or fails. Names it and the registry, never what it answered."""


async def ask_helper(helper: str, server: str, environment: Mapping[str, str]) -> RegistryAccess | None:
    """Run ``docker-credential-HELPER get`` for ``server``; return None if it has nothing for it.

    Raises ``CredentialHelperError``.
    """
    status, output = await _run(helper, server, environment)
    if status != 0:
        # Only this one sentence is looked for: the rest of the output may hold anything.
        if _NOT_FOUND in output:
            return None
        raise _error(helper, server, f"ended with status {status}: try `docker login` or run it by hand")
    try:
        answer = json.loads(output)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        answer = None
    if answer is None:
        raise _error(helper, server, "answered what is no Username and Secret in JSON")
    if username == _TOKEN_USER and isinstance(secret, str) and secret:
        return RegistryAccess(identity_token=SecretStr(secret))
    return password_access(username, secret)


def password_access(username: object, password: object) -> RegistryAccess | None:
    """Return the access with a user name and a password, or None unless both are text and not empty."""
    if isinstance(username, str) and isinstance(password, str) and username and password:
        return RegistryAccess(username=SecretStr(username), password=SecretStr(password))
    return None


async def _run(helper: str, server: str, environment: Mapping[str, str]) -> tuple[int, str]:
    """Return the helper's exit status and what it wrote to standard output."""
    if _NAME.fullmatch(helper) is None:
        raise _error(helper, server, "is not the name of a helper")
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            f"docker-credential-{helper}",
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
        return await _communicate(process, helper, server)
    raise _error(helper, server, problem)


async def _communicate(process: Process, helper: str, server: str) -> tuple[int, str]:
    try:
        async with asyncio.timeout(HELPER_TIME_LIMIT):
            output, _ = await process.communicate(server.encode())
    except TimeoutError:
        raise _error(helper, server, f"gave no answer in {HELPER_TIME_LIMIT:g} s") from None
    finally:
        if process.returncode is None:
            # The helper's own children too: communicate would wait for one that keeps the pipe open.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")


def _error(helper: str, server: str, problem: str) -> CredentialHelperError:
    return CredentialHelperError(f"credential helper docker-credential-{helper} for {server}: {problem}")
