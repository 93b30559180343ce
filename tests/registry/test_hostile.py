"""Registries that mean harm, or that are none."""

import pytest

from imageferry.registry.errors import InvalidResponse, RegistryError
from imageferry.registry.manifest import MANIFEST_LIMIT
from testkit.registries import actions
from testkit.registries.auth import Bearer
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.proxy import running
from tests.registry.opening import access, opened

METADATA = "http://169.254.169.254/latest/meta-data/"
INSIDE = "inside this machine's network"


async def test_a_redirect_to_the_machines_own_metadata(fake_source: FakeRegistry) -> None:
    digest = fake_source.add_blob("a/app", b"layer")
    fake_source.rules.append(Fault("blob-get", actions.redirect(lambda call: METADATA)))
    async with opened(fake_source.host) as repository:
        with pytest.raises(InvalidResponse, match=INSIDE):
            await repository.blobs.read(digest, 100)


async def test_an_upload_at_the_machines_own_metadata(fake_destination: FakeRegistry) -> None:
    fake_destination.rules.append(Fault("upload-start", actions.respond(202, b"", {"Location": METADATA})))
    async with opened(fake_destination.host, writable=True) as repository:
        upload = await repository.uploads.start("sha256:" + "0" * 64)
        with pytest.raises(InvalidResponse, match=INSIDE):
            await upload.put(b"layer")


@pytest.mark.parametrize("realm", [METADATA, "http://2852039166/token"])
async def test_a_token_server_at_the_machines_own_metadata(realm: str) -> None:
    with FakeRegistry(auth=Bearer({"ferry": "secret"}, realm=realm)) as registry:
        registry.image("a/app", "v1")
        async with opened(registry.host, entry=access("ferry", "secret")) as repository:
            with pytest.raises(InvalidResponse, match=INSIDE):
                await repository.manifests.head("v1")


async def test_a_registry_elsewhere_does_not_lead_to_this_machine(fake_source: FakeRegistry) -> None:
    name = "registry.invalid:5000"
    with FakeRegistry() as inside:
        digest = inside.add_blob("a/app", b"a secret of this machine")
        fake_source.rules.append(Fault("blob-get", actions.redirect(inside.url)))
        async with (
            running({name: fake_source.host}) as proxy,
            opened(name, entry=access(proxy=proxy.url)) as repository,
        ):
            with pytest.raises(InvalidResponse, match=INSIDE):
                await repository.blobs.read(digest, 100)
        assert len(inside.log) == 0


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://registry.example/x", "http://host:port/", "https://"])
async def test_a_redirect_to_what_is_no_address(fake_source: FakeRegistry, target: str) -> None:
    digest = fake_source.add_blob("a/app", b"layer")
    fake_source.rules.append(Fault("blob-get", actions.redirect(lambda call: target)))
    async with opened(fake_source.host) as repository:
        with pytest.raises(RegistryError, match=r"a/app"):
            await repository.blobs.read(digest, 100)


async def test_a_server_that_is_no_registry(fake_source: FakeRegistry) -> None:
    fake_source.rules.append(Fault(None, actions.html()))
    digest = "sha256:" + "0" * 64
    async with opened(fake_source.host, writable=True) as repository:
        for asked in (
            repository.manifests.get("v1"),
            repository.manifests.head("v1"),
            repository.tags.all(),
            repository.uploads.start(digest),
        ):
            with pytest.raises(InvalidResponse):
                await asked


async def test_an_error_without_end_is_not_read_to_its_end(fake_source: FakeRegistry) -> None:
    body = b'{"errors": [' + b'{"code": "X", "message": "' + b"y" * 16_000_000 + b'"}]}'

    fake_source.rules.append(Fault("manifest-get", actions.stall_after(MANIFEST_LIMIT + 2**21)))
    fake_source.rules.append(Fault("manifest-get", actions.respond(404, body)))
    async with opened(fake_source.host) as repository:
        with pytest.raises(RegistryError, match="404") as told:
            await repository.manifests.get("v1")
    assert len(str(told.value)) < 1000


@pytest.mark.parametrize(
    "body", [b"[" * 60_000, b'{"errors": 5}', b'{"errors": [5]}', b"\xff\xfe", b'{"errors": {"a": 1}}']
)
async def test_an_error_that_cannot_be_read_is_told_by_its_status(fake_source: FakeRegistry, body: bytes) -> None:
    fake_source.rules.append(Fault("manifest-get", actions.respond(403, body)))
    async with opened(fake_source.host) as repository:
        with pytest.raises(RegistryError, match="403 Forbidden"):
            await repository.manifests.get("v1")
