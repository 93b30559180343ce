"""The SSRF guard: hosts that a registry's answer must not send this process to.

A redirect, a token server or an upload's address could lead to services that only this machine, its network or its
cloud reaches, such as the metadata service with the machine's credentials. Hosts are judged by their address and by
what their name resolves to, at the moment of connecting. A registry that is inside itself may lead to its like.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
from enum import Enum, auto

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from imageferry.registry.errors import InvalidResponse

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class InternalPlace(Enum):
    """The kinds of places that only this machine, its network or its cloud reaches."""

    LOOPBACK = auto()
    LINK_LOCAL = auto()
    # Where a cloud keeps a machine's own secrets.
    METADATA = auto()
    PRIVATE = auto()
    # No host of anybody's: multicast, and forms that hide an address of IPv4 (6to4, Teredo).
    RESERVED = auto()


# The places to which a name in the configuration may resolve, and those where a registry leads to its like.
_OWN_NAME = frozenset({InternalPlace.LOOPBACK, InternalPlace.PRIVATE})
_LIKE = frozenset({InternalPlace.LOOPBACK, InternalPlace.LINK_LOCAL, InternalPlace.PRIVATE})

# AWS (EC2, ECS, EKS), Azure, Alibaba Cloud, Oracle Cloud; AWS and Google Cloud over IPv6.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            *("169.254.169.254", "169.254.170.2", "169.254.170.23", "168.63.129.16", "100.100.100.200", "192.0.0.192"),
            *("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
        ),
    )
)
_METADATA_NAMES = frozenset({"metadata.google.internal", "metadata.goog", "metadata", "instance-data.ec2.internal"})

# RFC 1122, 3.2.1.3 (0/8: Linux takes 0.0.0.0 for itself); RFC 3927; RFC 1918; RFC 6598; RFC 4193; RFC 3879; RFC 8215.
_NETWORKS = tuple(
    (ipaddress.ip_network(network), place)
    for place, networks in (
        (InternalPlace.LOOPBACK, ("127.0.0.0/8", "0.0.0.0/8", "::1/128", "::/128")),
        (InternalPlace.LINK_LOCAL, ("169.254.0.0/16", "fe80::/10")),
        (
            InternalPlace.PRIVATE,
            (
                *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
                *("fc00::/7", "fec0::/10", "64:ff9b:1::/48"),
            ),
        ),
        (
            InternalPlace.RESERVED,
            ("192.0.0.0/24", "224.0.0.0/4", "240.0.0.0/4", "ff00::/8", "2002::/16", "2001::/32"),
        ),
    )
    for network in networks
)

# IPv6 addresses that carry one of IPv4 in their last 32 bits (RFC 6052, 2.1; RFC 8215; RFC 4291, 2.5.5; RFC 2765).
_CARRYING = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "::/96")))
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")


class HostGuard:
    """Says to which hosts requests for one registry may go.

    ``registry`` (host, with or without a port) is the one that the configuration names: it may be anywhere, but its
    name must not resolve to link-local or metadata addresses. From a registry that is inside, others in a private
    network may be reached, and those of its own kind of place; never a metadata service.
    """

    def __init__(self, registry: str) -> None:
        self._registry = bare_host(registry).strip("[]")
        # Where the registry was when its name was first resolved, and whether it was nowhere else.
        self._own: frozenset[InternalPlace] | None = None
        self._wholly_inside = False

    async def check(self, host: str) -> None:
        """Refuse a host that is inside by its address or name. Raises ``InvalidResponse``."""
        place = _place_of(host)
        if place is None or host.lower() == self._registry:
            return
        if place not in await self._reachable_places():
            self._refuse(f"it leads to {host}")

    async def check_addresses(self, host: str, found: list[ResolveResult]) -> None:
        """Refuse a name that resolves to addresses inside. Raises ``InvalidResponse``."""
        internal = _internal_places(found)
        if host.lower() == self._registry:
            known = self._learn(found)
            allowed = _OWN_NAME & known
        elif internal:
            allowed = await self._reachable_places()
        for place, address in internal.items():
            if place not in allowed:
                verb = "is named" if host.lower() == self._registry else "leads to"
                self._refuse(f"it {verb} {host}, which is {address}")

    def _refuse(self, what: str) -> None:
        raise InvalidResponse(f"follow {self._registry}", f"{what}, inside this machine's network")

    def _learn(self, found: list[ResolveResult]) -> frozenset[InternalPlace]:
        """Keep where the registry is: one that was outside does not move inside while a run lasts (DNS rebinding)."""
        if self._own is None:
            self._own = frozenset(_internal_places(found))
            self._wholly_inside = all(_place_of(each["host"]) for each in found)
        return self._own

    async def _reachable_places(self) -> frozenset[InternalPlace]:
        """Return the places that the registry may lead to."""
        if self._own is None and (place := _place_of(self._registry)) is not None:
            self._own, self._wholly_inside = frozenset({place}), True
        if self._own is None:
            try:
                self._learn(await resolve_name(self._registry))
            except OSError:
                # A proxy may know it.
                return frozenset()
        assert self._own is not None
        inside = self._own & _LIKE if self._wholly_inside else frozenset[InternalPlace]()
        return inside | {InternalPlace.PRIVATE} if inside else inside


class GuardedResolver(AbstractResolver):
    """Resolves names as the system does, and refuses those that a guard refuses; a ``proxy`` may be anywhere."""

    def __init__(self, guard: HostGuard, proxy: str = "") -> None:
        self._guard = guard
        self._proxy = proxy.lower()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name. Raises ``InvalidResponse`` if one of them is internal, and ``OSError``."""
        found = await resolve_name(host, port, family)
        if not self._proxy or host.lower() != self._proxy:
            await self._guard.check_addresses(host, found)
        return found

    async def close(self) -> None:
        """Do nothing: the threads are the event loop's."""


async def resolve_name(
    host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
) -> list[ResolveResult]:
    """Return the addresses of a name as the system resolves it. Raises ``OSError``."""
    try:
        return await aiohttp.ThreadedResolver().resolve(host, port, family)
    except UnicodeError:
        # A label that is empty or longer than 63 characters.
        raise socket.gaierror(socket.EAI_NONAME, "not a name") from None


def _internal_places(found: list[ResolveResult]) -> dict[InternalPlace, str]:
    """Return the internal places among some addresses, each with one address there."""
    return {place: each["host"] for each in found if (place := _place_of(each["host"])) is not None}


def bare_host(registry: str) -> str:
    """Return a registry's host without its port, in lower case."""
    return registry.rpartition(":")[0].lower() if registry.rpartition(":")[2].isdigit() else registry.lower()


def is_internal(host: str, registry: str) -> bool:
    """Whether a host is one that the registry must not lead to, whatever its own name resolves to.

    Private networks depend on that: see ``HostGuard``.
    """
    place = _place_of(host)
    if place in (None, InternalPlace.PRIVATE) or host.lower() == registry.lower():
        return False
    return place not in _LIKE or place is not _place_of(registry)


@functools.lru_cache(1024)
def _place_of(host: str) -> InternalPlace | None:
    """Return the internal place that a host is by its name or address; None for all others."""
    address = _parse_address(host.strip("[]"))
    if address is not None:
        return _place_of_address(address)
    name = host.lower().rstrip(".")
    if name in _METADATA_NAMES:
        return InternalPlace.METADATA
    return InternalPlace.LOOPBACK if name == "localhost" or name.endswith(".localhost") else None


def _place_of_address(address: _Address) -> InternalPlace | None:
    if address in _METADATA:
        return InternalPlace.METADATA
    if address.version == 6 and int(address) > 1:
        carried = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if any(address in network for network in _CARRYING):
            return _place_of_address(carried)
        if address in _LOCAL_NAT64:
            return _place_of_address(carried) or InternalPlace.PRIVATE
    return next((place for network, place in _NETWORKS if address in network), None)


def _parse_address(host: str) -> _Address | None:
    """Return an address in any form that the system resolves, such as 2130706433 or 0x7f.1 for 127.0.0.1."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    # Without its zone, which is never compared.
    return ipaddress.IPv6Address(int(address)) if address.version == 6 else address
