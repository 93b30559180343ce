"""Hosts that an answer must not lead to."""

import socket
from typing import Any

import pytest

from imageferry.registry.errors import InvalidResponse
from imageferry.registry.http.internal_hosts import GuardedResolver, HostGuard, is_internal
from testkit.registries import actions
from testkit.registries.auth import Bearer
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from tests.registry.opening import access, opened

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
    "64:ff9b::a9fe:a9fe",
    "::169.254.169.254",
]
OTHERS = [
    "quay.io",
    "203.0.113.9",
    "172.32.0.1",
    "100.128.0.1",
    "198.51.100.7",
    "64:ff9b::cb00:7109",
    "::ffff:203.0.113.9",
    "2600:1f18::1",
    "2001:db8::1",
    "notlocalhost",
    "169.254.example",
    "a b",
    "",
]


@pytest.mark.parametrize("host", LOOPBACK + LINK_LOCAL)
def test_a_registry_leads_to_no_place_inside(host: str) -> None:
    assert is_internal(host, "quay.io")
    assert is_internal(host, "10.0.0.7")


@pytest.mark.parametrize("host", OTHERS)
def test_a_registry_leads_to_other_hosts(host: str) -> None:
    assert not is_internal(host, "quay.io")
    assert not is_internal(host, "127.0.0.1")


def test_a_registry_on_this_machine_leads_to_this_machine_alone() -> None:
    assert not any(is_internal(host, "127.0.0.1") for host in LOOPBACK)
    assert all(is_internal(host, "127.0.0.1") for host in LINK_LOCAL)
    # The metadata are nobody's to lead to, whoever is link-local too.
    assert not any(is_internal(host, "169.254.1.2") for host in ("169.254.3.4", "[fe80::1]"))
    assert all(is_internal(host, "169.254.1.2") for host in LINK_LOCAL if host != "[fe80::1]")


def resolver(registry: str, proxy: str = "") -> GuardedResolver:
    return GuardedResolver(HostGuard(registry), proxy)


ADDRESSES = {
    "private.test": ["10.1.2.3"],
    "ours.test": ["192.168.7.7", "fd12::7"],
    "metadata.test": ["169.254.169.254"],
    "mapped.test": ["::ffff:169.254.169.254"],
    "translated.test": ["64:ff9b::a9fe:a9fe"],
    "loopback.test": ["203.0.113.9", "127.0.0.1"],
    "here.test": ["127.0.0.1"],
    "outside.test": ["203.0.113.9", "10.0.0.7"],
}


@pytest.fixture
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that resolve without a name server."""
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *arguments: Any, **named: Any) -> Any:
        if host not in ADDRESSES:
            return real(host, port, *arguments, **named)
        return [
            (socket.AF_INET6, 1, 6, "", (each, port, 0, 0)) if ":" in each else (socket.AF_INET, 1, 6, "", (each, port))
            for each in ADDRESSES[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize("registry", ["outside.test", "203.0.113.9:5000", "nowhere.invalid"])
@pytest.mark.parametrize("host", ["metadata.test", "mapped.test", "translated.test", "loopback.test"])
async def test_a_name_that_resolves_to_a_place_inside_is_refused(host: str, registry: str) -> None:
    with pytest.raises(InvalidResponse, match=rf"leads to {host}, which is .*inside this machine's network"):
        await resolver(registry).resolve(host)


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize(
    ("registry", "proxy", "host"),
    [
        ("outside.test", "", "outside.test"),
        ("private.test:5000", "", "private.test"),
        ("Private.Test", "", "private.test"),
        ("outside.test", "metadata.test", "metadata.test"),
        ("outside.test", "here.test", "here.test"),
        ("here.test:5000", "", "localhost"),
        ("127.0.0.1:5000", "", "here.test"),
    ],
)
async def test_the_registry_and_the_proxy_that_a_user_names_may_be_anywhere(
    registry: str, proxy: str, host: str
) -> None:
    assert await resolver(registry, proxy).resolve(host)


@pytest.mark.usefixtures("_names")
async def test_a_registry_on_this_machine_does_not_lead_to_its_metadata() -> None:
    with pytest.raises(InvalidResponse, match=r"169\.254\.169\.254"):
        await resolver("here.test").resolve("metadata.test")


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example", "."])
async def test_a_name_that_is_none_does_not_resolve(host: str) -> None:
    with pytest.raises(socket.gaierror):
        await resolver("quay.io").resolve(host)


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize("kind", ["redirect", "realm"])
async def test_neither_a_redirect_nor_a_realm_is_followed_to_such_a_name(kind: str) -> None:
    realm = "https://metadata.test/token" if kind == "realm" else None
    with FakeRegistry(auth=Bearer({"ferry": "secret"}, realm=realm)) as registry:
        if kind == "redirect":
            registry.rules.append(Fault("blob-get", actions.redirect(lambda call: "http://metadata.test/")))
        entry = access("ferry", "secret")
        async with opened(registry.host, entry=entry) as repository:
            with pytest.raises(InvalidResponse, match="inside this machine's network") as told:
                await repository.blobs.read("sha256:" + "0" * 64, 100)
    assert not told.value.transient
