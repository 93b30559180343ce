"""TLS: whom a registry is trusted by, and what is said when it is not."""

from pathlib import Path

import pytest

from imageferry.model import RegistryAccess
from imageferry.registry import RegistryClient
from imageferry.registry.errors import TlsError, Unreachable
from testkit.images.documents import image_manifest
from testkit.images.push import push_document
from testkit.registries import actions
from testkit.registries.certificates import Authority
from testkit.registries.distribution import DistributionRegistry
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
        with pytest.raises((TlsError, Unreachable)):
            await repository.manifests.head("v1")


async def test_a_certificate_for_another_name_is_told(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with FakeRegistry(tls=authority.server("registry.example").server_context()) as registry:
        async with opened(registry.host, entry=RegistryAccess(ca_file=authority.ca_file)) as repository:
            with pytest.raises(TlsError, match="does not verify"):
                await repository.manifests.head("v1")
        assert len(registry.log) == 0


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
