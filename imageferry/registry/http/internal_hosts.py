"""The SSRF guard: hosts that a registry's answer must not send this process to.

A redirect, a token server or an upload's address could lead to services that only this machine or its cloud reaches,
such as the metadata service with the machine's credentials. Hosts are judged by their address and by what their name
resolves to. A registry that is such a host itself may lead to its like.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
from enum import Enum, auto

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from imageferry.registry.errors import InvalidResponse

# Where clouds keep a machine's own secrets, besides the link-local addresses (Alibaba Cloud; AWS over IPv6).
_METADATA = frozenset({ipaddress.ip_address("100.100.100.200"), ipaddress.ip_address("fd00:ec2::254")})

# IPv6 addresses that carry one of IPv4 in their last 32 bits (RFC 6052, 2.1; RFC 4291, 2.5.5).
_CARRYING = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "::ffff:0:0/96", "::/96")))


class InternalPlace(Enum):
    """The kinds of places that only this machine or its cloud reaches."""

    LOOPBACK = auto()
    LINK_LOCAL = auto()


class GuardedResolver(AbstractResolver):
    """Resolves names as the system does, and refuses those that resolve to an internal place.

    ``registry`` (with or without a port) is the one that the user named: it may be anywhere, and lead to its like; so
    may ``proxy``.
    """

    def __init__(self, registry: str, proxy: str = "") -> None:
        self._registry = bare_host(registry)
        self._named = {self._registry, proxy.lower()}
        self._system = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name. Raises ``InvalidResponse`` if one of them is internal, and ``OSError``."""
        found = await self._addresses(host, port, family)
        internal = {} if host.lower() in self._named else _internal_places(found)
        if internal and not internal.keys() <= await self._own_places():
            (address, *_) = internal.values()
            reason = f"it leads to {host}, which is {address}, inside this machine's network"
            raise InvalidResponse(f"follow {self._registry}", reason)
        return found

    async def close(self) -> None:
        """Close the system's resolver."""
        await self._system.close()

    async def _own_places(self) -> set[InternalPlace]:
        """Return the internal places where the registry itself is."""
        place = _place_of(self._registry)
        if place is not None:
            return {place}
        try:
            return set(_internal_places(await self._addresses(self._registry, 0, socket.AF_UNSPEC)))
        except OSError:
            return set()

    async def _addresses(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        try:
            return await self._system.resolve(host, port, family)
        except UnicodeError:
            # A label that is empty or longer than 63 characters.
            raise socket.gaierror(socket.EAI_NONAME, "not a name") from None


def _internal_places(found: list[ResolveResult]) -> dict[InternalPlace, str]:
    """Return the internal places among some addresses, each with one address there."""
    return {place: each["host"] for each in found if (place := _place_of(each["host"])) is not None}


def bare_host(registry: str) -> str:
    """Return a registry's host without its port, in lower case."""
    return registry.rpartition(":")[0].lower() if registry.rpartition(":")[2].isdigit() else registry.lower()


@functools.lru_cache(1024)
def is_internal(host: str, registry: str) -> bool:
    """Whether a host is one that only this machine or its cloud reaches, and the registry itself is not such a one."""
    place = _place_of(host)
    return place is not None and place is not _place_of(registry)


def _place_of(host: str) -> InternalPlace | None:
    """Return the internal place that a host is by its name or address; None for all others."""
    address = _parse_address(host.strip("[]"))
    if address is None:
        name = host.lower().rstrip(".")
        if name == "metadata.google.internal":
            return InternalPlace.LINK_LOCAL
        return InternalPlace.LOOPBACK if name == "localhost" or name.endswith(".localhost") else None
    if address.is_link_local or address in _METADATA:
        return InternalPlace.LINK_LOCAL
    return InternalPlace.LOOPBACK if address.is_loopback or address.is_unspecified else None


def _parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address in any form that the system resolves, such as 2130706433 or 0x7f.1 for 127.0.0.1."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    if address.version == 6 and any(address in network for network in _CARRYING) and int(address) > 1:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
