"""One repository of a registry, opened as the engine opens it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from imageferry.model import RegistryAccess
from imageferry.registry import RegistryClient, Repository
from imageferry.registry.limits.registry_limits import RegistryLimits
from imageferry.report.waits import Waits


def access(username: str = "", password: str = "", **more: Any) -> RegistryAccess:
    """Make an entry of `auth`: plain HTTP is let be, unless `insecure` says otherwise."""
    secrets = {"username": SecretStr(username), "password": SecretStr(password)} if username else {}
    for name in ("identity_token", "proxy"):
        if name in more:
            secrets[name] = SecretStr(more.pop(name))
    return RegistryAccess(**{"insecure": True, **secrets, **more})


@asynccontextmanager
async def opened(
    host: str,
    path: str = "a/app",
    entry: RegistryAccess | None = None,
    *,
    writable: bool = False,
    limits: RegistryLimits | None = None,
    waits: Waits | None = None,
    insecure_hosts: frozenset[str] = frozenset(),
) -> AsyncIterator[Repository]:
    """Open a repository; without an entry of `auth`, one that lets plain HTTP be."""
    async with RegistryClient(host, access() if entry is None else entry, limits, waits, insecure_hosts) as client:
        yield Repository(client, path, writable=writable)
