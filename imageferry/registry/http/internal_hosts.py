"""Hosts that an answer must not send this process to, by their address and by what their name resolves to."""

from __future__ import annotations

import functools
import ipaddress
import socket
from enum import Enum, auto

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from imageferry.registry.errors import InvalidResponse

#: Where clouds tell a machine its own secrets, besides the link-local addresses (Alibaba Cloud; AWS over IPv6).
_METADATA = frozenset({ipaddress.ip_address("100.100.100.200"), ipaddress.ip_address("fd00:ec2::254")})


class InternalPlace(Enum):
    """Which of the places that only this machine reaches."""

    LOOPBACK = auto()
    LINK_LOCAL = auto()


#: IPv6 addresses that carry one of IPv4 in their last 32 bits (RFC 6052, 2.1; RFC 4291, 2.5.5).
_CARRYING = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "::ffff:0:0/96", "::/96")))


class GuardedResolver(AbstractResolver):
    """Resolves names as the system does, and refuses those that resolve to a place inside.

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
        """Give the addresses of a name. Raises ``BadAnswer`` where one of them is inside, and ``OSError``."""
        found = await self._addresses(host, port, family)
        inside = {} if host.lower() in self._named else _places(found)
        if inside and not inside.keys() <= await self._own_places():
            (address, *_) = inside.values()
            reason = f"it leads to {host}, which is {address}, inside this machine's network"
            raise InvalidResponse(f"follow {self._registry}", reason)
        return found

    async def close(self) -> None:
        """Let go of the system's resolver."""
        await self._system.close()

    async def _own_places(self) -> set[InternalPlace]:
        place = _inside(self._registry)
        if place is not None:
            return {place}
        try:
            return set(_places(await self._addresses(self._registry, 0, socket.AF_UNSPEC)))
        except OSError:
            return set()

    async def _addresses(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        try:
            return await self._system.resolve(host, port, family)
        except UnicodeError:
            # A label that is empty or longer than 63 characters.
            raise socket.gaierror(socket.EAI_NONAME, "not a name") from None


def _places(found: list[ResolveResult]) -> dict[InternalPlace, str]:
    """Give the places inside among some addresses, each with one address there."""
    return {place: each["host"] for each in found if (place := _inside(each["host"])) is not None}


def bare_host(registry: str) -> str:
    """Give a registry's host without its port, in lower case."""
    return registry.rpartition(":")[0].lower() if registry.rpartition(":")[2].isdigit() else registry.lower()


@functools.lru_cache(1024)
def is_internal(host: str, registry: str) -> bool:
    """Whether a host is one that only this machine or its cloud answers at, where the registry itself is none such."""
    place = _inside(host)
    return place is not None and place is not _inside(registry)


def _inside(host: str) -> InternalPlace | None:
    address = _address(host.strip("[]"))
    if address is None:
        name = host.lower().rstrip(".")
        if name == "metadata.google.internal":
            return InternalPlace.LINK_LOCAL
        return InternalPlace.LOOPBACK if name == "localhost" or name.endswith(".localhost") else None
    if address.is_link_local or address in _METADATA:
        return InternalPlace.LINK_LOCAL
    return InternalPlace.LOOPBACK if address.is_loopback or address.is_unspecified else None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address in any form that the system resolves, such as 2130706433 or 0x7f.1 for 127.0.0.1."""
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
