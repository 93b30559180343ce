"""Hosts that an answer must not lead to."""

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from imageferry.registry import Repository
from imageferry.registry.errors import InvalidResponse
from imageferry.registry.http.internal_hosts import GuardedResolver, HostGuard, is_internal
from testkit.registries import actions
from testkit.registries.auth import Bearer
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.proxy import running
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
        if host == "nowhere.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
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


PRIVATE = [
    "10.0.0.7",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "::ffff:10.0.0.7",
    "64:ff9b::10.0.0.7",
    "[fd12:3456::1]",
    "64:ff9b:1::cb00:7109",
]
NEVER = [
    "168.63.129.16",
    "169.254.170.2",
    "169.254.170.23",
    "100.100.100.200",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "::ffff:168.63.129.16",
    "64:ff9b::a83f:8110",
    "64:ff9b:1::a9fe:a9fe",
    "metadata.google.internal",
    "metadata.goog",
    "2002:a00:7::1",
    "2001:0:a9fe:a9fe::1",
    "224.0.0.1",
    "255.255.255.255",
    "ff02::1",
]


async def _leads(registry: str, host: str) -> bool:
    try:
        await HostGuard(registry).check(host)
    except InvalidResponse:
        return False
    return True


@pytest.mark.usefixtures("_names")
async def test_a_registry_outside_leads_to_no_private_network() -> None:
    for registry in ("203.0.113.9", "outside.test:5000", "nowhere.invalid"):
        assert [host for host in PRIVATE + NEVER + LOOPBACK + LINK_LOCAL if await _leads(registry, host)] == []
        assert [host for host in OTHERS if not await _leads(registry, host)] == []


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize("registry", ["10.9.9.9:5000", "private.test:5000", "ours.test", "[fd00::1]:5000"])
async def test_a_registry_in_a_private_network_leads_into_private_networks_alone(registry: str) -> None:
    assert [host for host in PRIVATE if not await _leads(registry, host)] == []
    assert [host for host in NEVER + LOOPBACK + LINK_LOCAL if await _leads(registry, host)] == []
    assert await _leads(registry, "203.0.113.9")


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize("registry", ["127.0.0.1:5000", "localhost:5000", "here.test", "169.254.1.2"])
async def test_no_registry_leads_to_metadata(registry: str) -> None:
    assert [host for host in NEVER if await _leads(registry, host)] == []


async def test_an_address_that_the_configuration_names_is_its_own() -> None:
    for host in ("169.254.169.254", "10.0.0.7", "127.0.0.1", "168.63.129.16", "fd00:ec2::254"):
        assert await _leads(f"[{host}]:80" if ":" in host else f"{host}:80", host)


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize("registry", ["metadata.test:5000", "Metadata.Test", "mapped.test", "translated.test"])
async def test_a_name_in_the_configuration_must_not_resolve_to_metadata(registry: str) -> None:
    with pytest.raises(InvalidResponse, match=r"it is named metadata|is named mapped|is named translated"):
        await resolver(registry).resolve(registry.partition(":")[0].lower())


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize(
    ("registry", "host", "leads"),
    [
        ("private.test", "ours.test", True),
        ("private.test", "here.test", False),
        ("private.test", "metadata.test", False),
        ("203.0.113.9", "private.test", False),
        ("outside.test", "ours.test", False),
        ("10.1.2.3", "ours.test", True),
    ],
)
async def test_where_a_name_may_be_that_a_registry_leads_to(registry: str, host: str, leads: bool) -> None:
    guarded = resolver(registry)
    if leads:
        assert await guarded.resolve(host)
    else:
        with pytest.raises(InvalidResponse, match="inside this machine's network"):
            await guarded.resolve(host)


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize("moved", [["10.0.0.7"], ["127.0.0.1"], ["169.254.169.254"], ["203.0.113.9", "10.0.0.7"]])
async def test_a_registry_that_was_outside_does_not_move_inside(
    moved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ADDRESSES, "rebinding.test", ["203.0.113.9"])
    guarded = resolver("rebinding.test:5000")
    await guarded.resolve("rebinding.test")
    monkeypatch.setitem(ADDRESSES, "rebinding.test", moved)
    with pytest.raises(InvalidResponse, match="inside this machine's network"):
        await guarded.resolve("rebinding.test")


TARGET = "http://10.255.255.1:9/x"


async def _start_and_put(repository: Repository) -> None:
    await (await repository.uploads.start("sha256:" + "0" * 64)).put(b"layer")


async def _start_and_patch(repository: Repository) -> None:
    await (await repository.uploads.start("sha256:" + "0" * 64)).patch(b"layer", 5)


async def _read(repository: Repository) -> None:
    await repository.blobs.read("sha256:" + "0" * 64, 100)


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize(
    ("asking", "realm"), [(_read, ""), (_read, TARGET), (_start_and_put, ""), (_start_and_patch, "")]
)
async def test_a_registry_outside_reaches_no_private_address_by_any_way(
    asking: Callable[[Repository], Awaitable[None]], realm: str
) -> None:
    bearer = Bearer({"ferry": "secret"}, realm=realm.replace("http:", "https:")) if realm else None
    with FakeRegistry(auth=bearer) as registry:
        # Its name is that of an address outside, to which the proxy does not go.
        name = f"outside.test:{registry.host.rpartition(':')[2]}"
        registry.rules.append(Fault("blob-get", actions.redirect(lambda call: TARGET)))
        registry.rules.append(Fault("upload-start", actions.respond(202, b"", {"Location": TARGET})))
        async with (
            running({name: registry.host}) as proxy,
            opened(name, entry=access("ferry", "secret", proxy=proxy.url), writable=True) as repository,
        ):
            with pytest.raises(InvalidResponse, match=r"10\.255\.255\.1, inside this machine's network"):
                await asking(repository)
        assert [each for each in proxy.asked if "10.255" in each] == []
