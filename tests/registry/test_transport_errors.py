"""Who failed, and why: names that do not resolve, hosts that are led to, proxies."""

import socket
from typing import Any

import pytest

from imageferry.registry.errors import InvalidResponse, RegistryDown, UnknownHost, Unreachable
from testkit.registries import actions
from testkit.registries.auth import Bearer
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.proxy import running
from tests.registry.opening import access, opened

DIGEST = "sha256:" + "0" * 64
STORE = "store.invalid"


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often each name was looked up; names of `.invalid` do not resolve, those of `.again` cannot now."""
    counts: dict[str, int] = {}
    real = socket.getaddrinfo

    def resolve(host: str, *arguments: Any, **named: Any) -> Any:
        counts[host] = counts.get(host, 0) + 1
        if host.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if host.endswith(".again"):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return counts


async def test_a_redirect_to_a_name_that_does_not_resolve_is_that_names_error(
    fake_source: FakeRegistry, resolved: dict[str, int], pauses: list[float]
) -> None:
    fake_source.rules.append(Fault("blob-get", actions.redirect(lambda call: f"http://{STORE}:8080/x")))
    async with opened(fake_source.host) as repository:
        with pytest.raises(UnknownHost) as caught:
            await repository.blobs.read(DIGEST, 100)
    assert f"no answer from {STORE}:8080: its name does not resolve ({fake_source.host} leads there)" in str(
        caught.value
    )
    assert not caught.value.transient
    assert (resolved[STORE], fake_source.count("blob-get"), pauses) == (1, 1, [])


async def test_a_token_server_that_does_not_resolve_is_its_own_error(resolved: dict[str, int]) -> None:
    with FakeRegistry(auth=Bearer({"ferry": "secret"}, realm="https://tokens.invalid/token")) as registry:
        async with opened(registry.host, entry=access("ferry", "secret")) as repository:
            with pytest.raises(UnknownHost, match=r"no answer from tokens\.invalid: its name does not resolve"):
                await repository.manifests.head("v1")
    assert resolved["tokens.invalid"] == 1


async def test_a_registry_whose_name_does_not_resolve_is_asked_for_once(
    resolved: dict[str, int], pauses: list[float]
) -> None:
    for entry in (access(), access(insecure=False)):
        async with opened("registry.invalid:5000", entry=entry) as repository:
            with pytest.raises(UnknownHost, match=r"no answer from registry\.invalid:5000: its name does not resolve"):
                await repository.manifests.head("v1")
    assert (resolved["registry.invalid"], pauses) == (2, [])


async def test_a_name_server_that_does_not_answer_may_heal(resolved: dict[str, int]) -> None:
    async with opened("registry.again", entry=access(insecure=False)) as repository:
        with pytest.raises(Unreachable, match="cannot be resolved now") as caught:
            await repository.manifests.head("v1")
    assert caught.value.transient
    assert resolved["registry.again"] == 4


async def test_a_store_that_is_down_is_named(fake_source: FakeRegistry) -> None:
    with FakeRegistry(address="127.0.0.2") as store:
        gone, url = store.host, store.url
    fake_source.rules.append(Fault("blob-get", actions.redirect(url)))
    async with opened(fake_source.host) as repository:
        with pytest.raises(Unreachable, match=rf"no answer from {gone}: the connection is refused .*leads there"):
            await repository.blobs.read(DIGEST, 100)
        with pytest.raises(Unreachable):
            await repository.blobs.read(DIGEST, 100)
        # The circuit breaker gives it up now.
        with pytest.raises(RegistryDown, match=rf"{gone}, where it leads, does not answer: the connection is refused"):
            await repository.blobs.read(DIGEST, 100)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_wants_a_password_is_named(scheme: str, pauses: list[float]) -> None:
    async with running({}, password="me:pass") as proxy:
        entry = access(insecure=scheme == "http", proxy=proxy.url.replace("//", "//me:wrong@"))
        async with opened("registry.invalid:5000", entry=entry) as repository:
            with pytest.raises(InvalidResponse) as caught:
                await repository.manifests.head("v1")
    words = (
        f"registry.invalid:5000 is not reached: its proxy {proxy.address} answered 407 Proxy Authentication Required"
    )
    assert words in str(caught.value)
    assert "check the username and password of that proxy" in str(caught.value)
    assert "wrong" not in str(caught.value)
    assert pauses == []
    assert len(proxy.asked) == 1


async def test_a_proxy_that_cannot_be_reached_is_named() -> None:
    async with running({}) as proxy:
        pass
    async with opened("registry.invalid:5000", entry=access(insecure=False, proxy=proxy.url)) as repository:
        with pytest.raises(Unreachable, match=rf"its proxy {proxy.address} does not answer: the connection is refused"):
            await repository.manifests.head("v1")
