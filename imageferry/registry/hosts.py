"""Hosts that an answer must not send this process to."""

from __future__ import annotations

import functools
import ipaddress
import socket
from enum import Enum, auto

#: Where clouds tell a machine its own secrets, besides the link-local addresses (Alibaba Cloud; AWS over IPv6).
_METADATA = frozenset({ipaddress.ip_address("100.100.100.200"), ipaddress.ip_address("fd00:ec2::254")})


class Inside(Enum):
    """Which of the places that only this machine reaches."""

    LOOPBACK = auto()
    LINK_LOCAL = auto()


@functools.cache
def leads_inside(host: str, registry: str) -> bool:
    """Whether a host is one that only this machine or its cloud answers at, where the registry itself is none such."""
    place = _inside(host)
    return place is not None and place is not _inside(registry)


def _inside(host: str) -> Inside | None:
    address = _address(host.strip("[]"))
    if address is None:
        name = host.lower().rstrip(".")
        if name == "metadata.google.internal":
            return Inside.LINK_LOCAL
        return Inside.LOOPBACK if name == "localhost" or name.endswith(".localhost") else None
    if address.is_link_local or address in _METADATA:
        return Inside.LINK_LOCAL
    return Inside.LOOPBACK if address.is_loopback or address.is_unspecified else None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address in any form that the system resolves, such as 2130706433 or 0x7f.1 for 127.0.0.1."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    return getattr(address, "ipv4_mapped", None) or address
