"""The certificates that docker and podman keep for a registry."""

import ssl
from pathlib import Path

import pytest

from imageferry.model import RegistryAccess
from imageferry.registry import RegistryClient
from imageferry.registry.errors import TlsError, Unreachable
from imageferry.registry.http import certs_d
from imageferry.registry.http.certs_d import HostCertificates, find_certificates
from testkit.registries.certificates import Authority
from testkit.registries.inprocess import FakeRegistry
from tests.registry.opening import opened


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The folders, in their order of precedence."""
    places = (tmp_path / "first", tmp_path / "second")
    monkeypatch.setattr(certs_d, "FOLDERS", places)
    return places


def keep(folder: Path, host: str, **files: Path) -> Path:
    """Copy files there; `a_crt` is named `a.crt`."""
    place = folder / host
    place.mkdir(parents=True)
    for name, file in files.items():
        (place / name.replace("_", ".")).write_bytes(file.read_bytes())
    return place


async def test_an_authority_and_a_client_that_are_kept_are_used(folders: tuple[Path, Path], tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    client = authority.client()
    wanting = authority.server().server_context(authority.ca_file)
    with FakeRegistry(tls=wanting) as registry:
        registry.image("a/app", "v1")
        keep(folders[1], registry.host, ca_crt=authority.ca_file, client_cert=client.certificate, client_key=client.key)
        async with opened(registry.host, entry=RegistryAccess()) as repository:
            assert await repository.manifests.head("v1")
        # What the configuration says itself counts first.
        other = Authority(tmp_path / "other")
        async with opened(registry.host, entry=RegistryAccess(ca_file=other.ca_file)) as repository:
            with pytest.raises(TlsError, match="does not verify"):
                await repository.manifests.head("v1")
        # The first folder that there is counts alone.
        keep(folders[0], registry.host, ca_crt=authority.ca_file)
        async with opened(registry.host, entry=RegistryAccess()) as repository:
            with pytest.raises((TlsError, Unreachable), match="client_cert"):
                await repository.manifests.head("v1")


def test_what_is_kept_for_another_port_or_host_is_not_used(folders: tuple[Path, Path], tmp_path: Path) -> None:
    place = keep(folders[0], "registry.example:5000", ca_crt=Authority(tmp_path / "ca").ca_file)
    assert find_certificates("registry.example:5000") == HostCertificates((place / "ca.crt",))
    for host in ("registry.example", "registry.example:5001", "other.example:5000"):
        assert find_certificates(host) == HostCertificates()


def test_docker_hub_by_either_of_its_names(folders: tuple[Path, Path], tmp_path: Path) -> None:
    place = keep(folders[0], "docker.io", ca_crt=Authority(tmp_path / "ca").ca_file)
    assert find_certificates("registry-1.docker.io") == HostCertificates((place / "ca.crt",))


def test_a_certificate_without_its_key_is_reported(folders: tuple[Path, Path], tmp_path: Path) -> None:
    place = keep(folders[0], "registry.example", a_cert=Authority(tmp_path / "ca").client().certificate)
    with pytest.raises(ssl.SSLError, match=r"a\.cert has no key: expected .*a\.key"):
        find_certificates("registry.example")
    with pytest.raises(TlsError, match=r"TLS files cannot be used: .*has no key"):
        RegistryClient("registry.example", RegistryAccess())
    # A key without a certificate, and other files, are nothing.
    (place / "a.cert").rename(place / "a.txt")
    assert find_certificates("registry.example") == HostCertificates()


def test_a_home_that_is_none_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    assert find_certificates("registry.example") == HostCertificates()
