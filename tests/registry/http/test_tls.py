"""TLS: whom a registry is trusted by, and what is said when it is not."""

import ssl
from pathlib import Path

import pytest

from imageferry.model import RegistryAccess
from imageferry.registry import RegistryClient
from imageferry.registry.errors import RegistryError, TlsError, Unreachable
from imageferry.registry.http.tls import TlsContexts
from testkit.images.documents import image_manifest
from testkit.images.push import push_document
from testkit.registries import actions
from testkit.registries.certificates import Authority
from testkit.registries.distribution import DistributionRegistry
from testkit.registries.exchange import Ending
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from tests.registry.opening import access, opened


async def test_a_ca_file_vouches(tls_registry: DistributionRegistry, repository: str) -> None:
    image = image_manifest([b"layer"])
    push_document(tls_registry.host, repository, "v1", image, context=tls_registry.client_context())
    entry = access(insecure=False, ca_file=tls_registry.ca_file)
    async with opened(tls_registry.host, repository, entry) as found:
        assert (await found.manifests.get("v1")).body == image.data


async def test_an_unknown_authority_is_told_with_what_to_do(tls_registry: DistributionRegistry) -> None:
    async with opened(tls_registry.host, entry=RegistryAccess()) as repository:
        with pytest.raises(TlsError, match=r"certificate of .* does not verify.*ca_file.*insecure") as told:
            await repository.manifests.head("v1")
    assert not told.value.transient


async def test_insecure_takes_any_certificate(tls_registry: DistributionRegistry) -> None:
    async with opened(tls_registry.host, entry=access()) as repository:
        assert await repository.manifests.head("v1") is None
        assert str(await repository.client.origin("")).startswith("https://")


async def test_a_clients_certificate_is_shown(client_certificate_registry: DistributionRegistry) -> None:
    registry = client_certificate_registry
    assert registry.client is not None
    entry = access(
        insecure=False,
        ca_file=registry.ca_file,
        client_cert=registry.client.certificate,
        client_key=registry.client.key,
    )
    async with opened(registry.host, entry=entry) as repository:
        assert await repository.manifests.head("v1") is None


async def test_a_clients_certificate_that_is_missing_is_told(
    client_certificate_registry: DistributionRegistry,
) -> None:
    entry = access(insecure=False, ca_file=client_certificate_registry.ca_file)
    async with opened(client_certificate_registry.host, entry=entry) as repository:
        with pytest.raises(TlsError, match=r"wants a client certificate, .*client_cert and client_key") as caught:
            await repository.manifests.head("v1")
    assert "insecure" not in str(caught.value)
    assert not caught.value.transient


async def test_a_certificate_for_another_name_is_told(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with FakeRegistry(tls=authority.server("registry.example").server_context()) as registry:
        async with opened(registry.host, entry=RegistryAccess(ca_file=authority.ca_file)) as repository:
            with pytest.raises(TlsError, match=r"does not verify for this name: it is for registry\.example") as caught:
                await repository.manifests.head("v1")
        assert len(registry.log) == 0
    assert "ca_file" not in str(caught.value)


@pytest.mark.parametrize(
    ("days", "words"),
    [
        ((-3, -1), r"has expired on 20\d\d-\d\d-\d\d \d\d:\d\d UTC; have it renewed"),
        ((1, 3), r"is not valid yet, but from 20\d\d-.* on; check the clock"),
    ],
)
async def test_a_certificate_of_another_time_is_reported_with_its_time(
    tmp_path: Path, days: tuple[float, float], words: str
) -> None:
    authority = Authority(tmp_path)
    with FakeRegistry(tls=authority.server(days=days).server_context()) as registry:
        async with opened(registry.host, entry=RegistryAccess(ca_file=authority.ca_file)) as repository:
            with pytest.raises(TlsError, match=words) as caught:
                await repository.manifests.head("v1")
        assert len(registry.log) == 0
    assert "ca_file" not in str(caught.value)


async def test_nginx_says_in_http_that_it_wants_a_certificate(fake_source: FakeRegistry) -> None:
    page = b"<html><head><title>400 No required SSL certificate was sent</title></head></html>"
    fake_source.rules.append(Fault("manifest-get", actions.respond(400, page)))
    async with opened(fake_source.host) as repository:
        with pytest.raises(RegistryError, match=r"it wants a client certificate.*client_cert"):
            await repository.manifests.get("v1")


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_one_that_hangs_up_may_want_a_certificate(tmp_path: Path, ending: Ending) -> None:
    authority = Authority(tmp_path)
    with FakeRegistry(tls=authority.server().server_context()) as registry:
        registry.rules.append(Fault(None, actions.hang_up(ending)))
        async with opened(registry.host, entry=RegistryAccess(ca_file=authority.ca_file)) as repository:
            with pytest.raises(Unreachable, match=r"connection was (closed|reset); .*client_cert"):
                await repository.manifests.head("v1")


async def test_plain_http_is_not_tried_where_tls_fails_for_another_reason(
    client_certificate_registry: DistributionRegistry,
) -> None:
    async with opened(client_certificate_registry.host, entry=access()) as repository:
        with pytest.raises(TlsError, match="client_cert"):
            await repository.manifests.head("v1")


async def test_a_port_for_https_is_not_taken_for_plain_http(
    fake_source: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = b"Client sent an HTTP request to an HTTPS server.\n"
    fake_source.rules.append(Fault("ping", actions.respond(400, page)))
    async with opened(fake_source.host) as repository:
        with pytest.raises(TlsError):
            await repository.manifests.head("v1")
    assert fake_source.count("manifest-head") == 0


class TestOtherHosts:
    """What a registry leads to gets neither its `insecure` nor its client's certificate."""

    async def test_insecure_is_for_its_own_host(self, fake_source: FakeRegistry, tmp_path: Path) -> None:
        digest = fake_source.add_blob("a/app", b"layer")
        tls = Authority(tmp_path).server("127.0.0.2").server_context()
        with FakeRegistry(address="127.0.0.2", tls=tls) as store:
            store.add_blob("a/app", b"layer")
            fake_source.rules.append(Fault("blob-get", actions.redirect(store.url)))
            async with opened(fake_source.host) as repository:
                with pytest.raises(TlsError, match=rf"of {store.host} does not verify.*leads there") as caught:
                    await repository.blobs.read(digest, 100)
            assert len(store.log) == 0
            assert f"insecure: true for {store.host}" in str(caught.value)
            others = frozenset({"127.0.0.2"})
            async with opened(fake_source.host, insecure_hosts=others) as repository:
                assert await repository.blobs.read(digest, 100) == b"layer"

    async def test_the_clients_certificate_is_for_its_own_host(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        client = authority.client()
        wanting = authority.server("127.0.0.1", "127.0.0.2").server_context(authority.ca_file)
        entry = access(insecure=False, ca_file=authority.ca_file, client_cert=client.certificate, client_key=client.key)
        with FakeRegistry(tls=wanting) as registry, FakeRegistry(address="127.0.0.2", tls=wanting) as store:
            digest = registry.add_blob("a/app", b"layer")
            store.add_blob("a/app", b"layer")
            async with opened(registry.host, entry=entry) as repository:
                assert await repository.blobs.read(digest, 100) == b"layer"
                registry.rules.append(Fault("blob-get", actions.redirect(store.url)))
                with pytest.raises(RegistryError, match=store.host):
                    await repository.blobs.read(digest, 100)
            assert len(store.log) == 0

    async def test_a_ca_file_vouches_for_them_too(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        tls = authority.server("127.0.0.1", "127.0.0.2").server_context()
        entry = access(insecure=False, ca_file=authority.ca_file)
        with FakeRegistry(tls=tls) as registry, FakeRegistry(address="127.0.0.2", tls=tls) as store:
            digest = registry.add_blob("a/app", b"layer")
            store.add_blob("a/app", b"layer")
            registry.rules.append(Fault("blob-get", actions.redirect(store.url)))
            async with opened(registry.host, entry=entry) as repository:
                assert await repository.blobs.read(digest, 100) == b"layer"


@pytest.mark.parametrize("insecure", [True, False])
def test_no_version_of_python_is_stricter_than_another(tmp_path: Path, insecure: bool) -> None:
    contexts = TlsContexts(access(insecure=insecure, ca_file=Authority(tmp_path).ca_file), "registry.example")
    for context in (contexts.others, TlsContexts(None, "registry.example").own):
        assert not context.verify_flags & ssl.VERIFY_X509_STRICT
        assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
        assert context.verify_mode is ssl.CERT_REQUIRED


async def test_a_servers_own_certificate_may_be_the_ca_file(tmp_path: Path) -> None:
    server = Authority(tmp_path).server()
    with FakeRegistry(tls=server.server_context()) as registry:
        registry.image("a/app", "v1")
        async with opened(registry.host, entry=RegistryAccess(ca_file=server.certificate)) as repository:
            assert await repository.manifests.head("v1")


async def test_plain_http_is_told_and_nothing_is_sent(fake_source: FakeRegistry) -> None:
    async with opened(fake_source.host, entry=access("ferry", "secret", insecure=False)) as repository:
        with pytest.raises(TlsError, match=r"does not speak TLS.*insecure: true"):
            await repository.manifests.head("v1")
    assert len(fake_source.log) == 0


async def test_insecure_asks_once_which_it_is(fake_source: FakeRegistry) -> None:
    fake_source.image("a/app", "v1")
    async with opened(fake_source.host, entry=access("ferry", "secret")) as repository:
        for _ in range(3):
            await repository.manifests.head("v1")
    assert fake_source.counts() == {"ping": 1, "manifest-head": 3}
    # No credentials before the other side asks for them.
    assert all(entry.authorization is None for entry in fake_source.log)


@pytest.mark.parametrize("status", [401, 404, 429, 500])
async def test_any_answer_shows_which_it_is(fake_source: FakeRegistry, status: int) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("ping", actions.refuse(status, "NO")))
    async with opened(fake_source.host) as repository:
        assert await repository.manifests.head("v1")
    assert fake_source.count("ping") == 1


@pytest.mark.parametrize("content", [b"", b"no certificate", None])
def test_files_that_cannot_be_used_are_told(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(TlsError, match="TLS files cannot be used"):
        RegistryClient("registry.example", RegistryAccess(ca_file=file))
    with pytest.raises(TlsError, match="TLS files cannot be used"):
        RegistryClient("registry.example", RegistryAccess(client_cert=file, client_key=file))
