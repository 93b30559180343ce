"""Hosts that an answer must not send this process to."""

from __future__ import annotations

import ipaddress


def is_internal(host: str) -> bool:
    """Whether a host is an address that only this machine or its cloud answers at (link-local, metadata, loopback)."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host.lower().rstrip(".") in ("localhost", "metadata.google.internal")
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return address.is_link_local or address.is_loopback or address.is_unspecified
