"""An API at another host than its registry's: with a client, limits and a guard of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx

from imageferry.errors import InvalidReference
from imageferry.model import RegistryAccess
from imageferry.reference import check_registry
from imageferry.registry.client import RegistryClient
from imageferry.registry.http.internal_hosts import bare_host
from imageferry.registry.limits.registry_limits import RegistryLimits
from imageferry.registry.listings.listing import NotListable
from imageferry.report.waits import Waits
from imageferry.text import shorten_repr


@dataclass(frozen=True, slots=True)
class ApiSite:
    """Where an API is: the client of its host, and what all its paths begin with."""

    client: RegistryClient
    base: str = ""


@contextlib.asynccontextmanager
async def open_site(
    url: str,
    registry: RegistryClient,
    access: RegistryAccess | None,
    *,
    limits: RegistryLimits | None = None,
    waits: Waits | None = None,
    insecure_hosts: frozenset[str] = frozenset(),
) -> AsyncIterator[ApiSite]:
    """Open the API at an address, for a registry; at the registry's own host with the registry's own client.

    The client of another host has the authority and the proxy of ``access``, but not its credentials: what an API is
    sent, its listing sends. It may be insecure only if it is among ``insecure_hosts`` (without a port). Raises
    ``NotListable`` for what is no address of an API, and what ``RegistryClient`` raises.
    """
    host, base = _split(url, registry.registry, insecure_hosts)
    if host == registry.host:
        yield ApiSite(registry, base)
        return
    bare = RegistryAccess(
        insecure=bare_host(host) in insecure_hosts,
        ca_file=access.ca_file if access else None,
        proxy=access.proxy if access else None,
    )
    async with RegistryClient(host, bare, limits, waits, insecure_hosts) as client:
        yield ApiSite(client, base)


def _split(url: str, registry: str, insecure_hosts: frozenset[str]) -> tuple[str, str]:
    """Return the host (with its port) and the path of an address, without a slash at its end."""
    action = f"list repositories of {registry}"
    address = _parse(url)
    if address is None:
        # A password in it would be shown.
        quoted = "" if "@" in url else f" {shorten_repr(url)}"
        raise NotListable(action, f"api_url{quoted} is not an address as https://gitlab.example")
    host = address.netloc.decode()
    if address.scheme == "http" and bare_host(host) not in insecure_hosts:
        advice = f"write https://, or set insecure: true for {host} in auth if its network is your own"
        raise NotListable(action, f"{host} would get the credentials without TLS", advice=advice)
    return host, address.raw_path.decode().rstrip("/")


def _parse(url: str) -> httpx.URL | None:
    try:
        address = httpx.URL(url)
        check_registry(address.netloc.decode())
    except (httpx.InvalidURL, InvalidReference):
        return None
    return address if address.scheme in ("http", "https") and not address.userinfo and not address.query else None
