"""Hosts that an answer must not lead to."""

import pytest

from imageferry.registry.hosts import leads_inside

LOOPBACK = ["127.0.0.1", "127.9.9.9", "localhost", "LocalHost.", "a.localhost", "::1", "[::1]", "0.0.0.0", "2130706433"]
LINK_LOCAL = [
    "169.254.169.254",
    "[fe80::1]",
    "::ffff:169.254.169.254",
    "metadata.google.internal",
    "Metadata.Google.Internal.",
    "100.100.100.200",
    "fd00:ec2::254",
    "2852039166",
    "0xa9.0xfe.0xa9.0xfe",
]
OTHERS = [
    "quay.io",
    "10.0.0.7",
    "192.168.1.1",
    "203.0.113.9",
    "2001:db8::1",
    "notlocalhost",
    "169.254.example",
    "a b",
    "",
]


@pytest.mark.parametrize("host", LOOPBACK + LINK_LOCAL)
def test_a_registry_leads_to_no_place_inside(host: str) -> None:
    assert leads_inside(host, "quay.io")
    assert leads_inside(host, "10.0.0.7")


@pytest.mark.parametrize("host", OTHERS)
def test_a_registry_leads_to_other_hosts(host: str) -> None:
    assert not leads_inside(host, "quay.io")
    assert not leads_inside(host, "127.0.0.1")


def test_a_registry_on_this_machine_leads_to_this_machine_alone() -> None:
    assert not any(leads_inside(host, "127.0.0.1") for host in LOOPBACK)
    assert all(leads_inside(host, "127.0.0.1") for host in LINK_LOCAL)
    assert not any(leads_inside(host, "169.254.1.2") for host in LINK_LOCAL)
