"""Proxies: a registry's own, and those of the environment."""

from pathlib import Path

import httpx
import pytest

from imageferry.model import RegistryAccess
from imageferry.registry import RegistryClient
from imageferry.registry.errors import RegistryError, Unreachable
from imageferry.registry.http import client, retry
from imageferry.registry.http.proxies import EnvironmentProxies
from testkit.images.documents import sha256
from testkit.registries.certificates import Authority
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.proxy import running
from tests.registry.opening import access, opened

NAME = "registry.invalid:5000"
BLOB = b"layer" * 100_000


async def test_a_registry_behind_its_own_proxy(fake_source: FakeRegistry) -> None:
    fake_source.image("a/app", "v1")
    async with (
        running({NAME: fake_source.host}) as proxy,
        opened(NAME, entry=access(proxy=proxy.url)) as repository,
    ):
        assert await repository.manifests.head("v1")
    assert proxy.asked == [
        f"CONNECT {NAME}",
        f"GET http://{NAME}/v2/",
        f"HEAD http://{NAME}/v2/a/app/manifests/v1",
    ]


async def test_tls_goes_through_a_tunnel_to_its_end(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with FakeRegistry(tls=authority.server("registry.invalid").server_context()) as registry:
        async with running({NAME: registry.host}, password="me:pass") as proxy:
            url = proxy.url.replace("//", "//me:pass@")
            entry = access(insecure=False, proxy=url, ca_file=authority.ca_file)
            async with opened(NAME, entry=entry, writable=True) as repository:
                upload = await repository.uploads.start(sha256(BLOB))
                await upload.put(BLOB)
        assert set(proxy.asked) == {f"CONNECT {NAME}"}
        assert registry.blob("a/app", sha256(BLOB)) == BLOB
        assert all("proxy-authorization" not in entry.headers for entry in registry.log)


async def test_a_proxy_that_refuses_is_told_without_its_password() -> None:
    async with running({}, password="me:pass") as proxy:
        url = proxy.url.replace("//", "//me:wrong@")
        async with opened(NAME, entry=RegistryAccess(proxy=access(proxy=url).proxy)) as repository:
            with pytest.raises(RegistryError, match=r"registry\.invalid:5000") as told:
                await repository.manifests.head("v1")
    assert "wrong" not in str(told.value)
    assert "407" in str(told.value)


async def test_a_proxy_that_is_away_is_told(fake_source: FakeRegistry) -> None:
    fake_source.stop()
    async with opened(NAME, entry=access(insecure=False, proxy=fake_source.url)) as repository:
        with pytest.raises(RegistryError, match="connection is refused"):
            await repository.manifests.head("v1")


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_the_environments_proxy(
    fake_source: FakeRegistry, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    fake_source.image("a/app", "v1")
    async with running({NAME: fake_source.host}) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        if variable != "ALL_PROXY":
            monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        async with opened(NAME) as repository:
            assert await repository.manifests.head("v1")
    assert proxy.asked[-1] == f"HEAD http://{NAME}/v2/a/app/manifests/v1"


async def test_a_registrys_own_proxy_wins(fake_source: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_source.image("a/app", "v1")
    async with running({}) as other, running({NAME: fake_source.host}) as own:
        monkeypatch.setenv("ALL_PROXY", other.url)
        monkeypatch.setenv("NO_PROXY", "registry.invalid")
        async with opened(NAME, entry=access(proxy=own.url)) as repository:
            assert await repository.manifests.head("v1")
    assert (other.asked, len(own.asked)) == ([], 3)


@pytest.mark.parametrize("excepted", ["*", "127.0.0.1", "localhost,127.0.0.1", " .example , 127.0.0.1 ", "{host}"])
async def test_no_proxy(fake_source: FakeRegistry, monkeypatch: pytest.MonkeyPatch, excepted: str) -> None:
    fake_source.image("a/app", "v1")
    async with running({}) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", excepted.format(host=fake_source.host))
        async with opened(fake_source.host) as repository:
            assert await repository.manifests.head("v1")
    assert proxy.asked == []


@pytest.mark.parametrize(
    ("host", "excepted", "through"),
    [
        ("registry.invalid:5000", "invalid", False),
        ("registry.invalid:5000", ".invalid", False),
        ("registry.invalid:5000", "registry.invalid:5000", False),
        ("registry.invalid:5000", "registry.invalid:6000", True),
        ("registry.invalid:5000", "other.invalid", True),
        ("notregistry.invalid:5000", "registry.invalid", True),
        ("192.0.2.7:5000", "192.0.2.0/24", False),
        ("192.0.2.7:5000", "192.0.3.0/24", True),
    ],
)
async def test_whom_no_proxy_excepts(
    fake_source: FakeRegistry, monkeypatch: pytest.MonkeyPatch, host: str, excepted: str, through: bool
) -> None:
    # Nobody answers at these hosts but the proxy.
    monkeypatch.setattr(client, "TIMEOUT", httpx.Timeout(0.5, pool=None))
    monkeypatch.setattr(retry, "ATTEMPTS", 1)
    async with running({host: fake_source.host}) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", excepted)
        async with opened(host) as repository:
            if through:
                assert await repository.manifests.head("v1") is None
            else:
                with pytest.raises(Unreachable):
                    await repository.manifests.head("v1")
    assert (proxy.asked != []) == through


@pytest.mark.parametrize(
    "excepted", ["[::1]", "::1", "fe80::1%eth0", "a b", "%%%", "http://x", "10.0.0.0/8", "10.0.0.0/99", "x:port", ",,"]
)
def test_any_no_proxy_is_read(monkeypatch: pytest.MonkeyPatch, excepted: str) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", excepted)
    proxy = EnvironmentProxies().proxy_for(httpx.URL("https://registry.example:5000/v2/"))
    assert proxy is not None
    assert proxy.url == "http://proxy.invalid:3128"
    RegistryClient("registry.example:5000")


@pytest.mark.parametrize("proxy", ["http://me:secret@proxy:port", "gopher://me:secret@proxy:70", "http://"])
async def test_a_proxy_that_is_no_address_is_told(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(RegistryError) as told:
        async with opened("registry.invalid", entry=RegistryAccess()) as repository:
            await repository.manifests.head("v1")
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("host", ["localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "LOCALHOST"])
def test_this_machine_is_not_asked_for_through_the_environments_proxies(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    proxies = EnvironmentProxies()
    for scheme in ("http", "https"):
        assert proxies.proxy_for(httpx.URL(f"{scheme}://{host}/v2/")) is None
        assert proxies.proxy_for(httpx.URL(f"{scheme}://10.0.0.1/v2/")) is not None


async def test_a_registry_on_this_machine_is_reached_past_them(
    fake_source: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_source.image("a/app", "v1")
    async with running({}) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        async with opened(fake_source.host) as repository:
            assert await repository.manifests.head("v1")
        assert proxy.asked == []
        # One that the configuration names is meant.
        async with opened(fake_source.host, entry=access(proxy=proxy.url)) as repository:
            assert await repository.manifests.head("v1")
        assert proxy.asked[-1] == f"HEAD http://{fake_source.host}/v2/a/app/manifests/v1"


# From the tests of golang.org/x/net/http/httpproxy, and what `*.example.com` is taken for there.
@pytest.mark.parametrize(
    ("excepted", "host", "direct"),
    [
        ("example.com", "example.com", True),
        ("example.com", "foo.example.com", True),
        ("example.com", "fooexample.com", False),
        (".example.com", "foo.example.com", True),
        (".example.com", "example.com", False),
        ("*.example.com", "foo.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("EXAMPLE.com", "Foo.Example.COM", True),
        ("example.com:8080", "example.com:8080", True),
        ("example.com:443", "example.com", True),
        ("example.com:80", "example.com", False),
        ("*.example.com:8080", "a.example.com:8080", True),
        ("10.0.0.0/8", "10.1.2.3:5000", True),
        ("10.0.0.1:5000", "10.0.0.1:5000", True),
        ("10.0.0.1:5000", "10.0.0.1:5001", False),
        ("2001:db8::/32", "[2001:db8::7]:5000", True),
        ("[2001:db8::7]:5000", "[2001:db8::7]:5000", True),
        ("[2001:db8::7]:5000", "[2001:db8::7]:5001", False),
        ("0.0.7", "10.0.0.7", False),
        ("other.com, ,*", "example.com", True),
        (":80,..,*.,%", "example.com", False),
    ],
)
def test_whom_no_proxy_excepts_as_go_reads_it(
    monkeypatch: pytest.MonkeyPatch, excepted: str, host: str, direct: bool
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", excepted)
    assert (EnvironmentProxies().proxy_for(httpx.URL(f"https://{host}/v2/")) is None) == direct
