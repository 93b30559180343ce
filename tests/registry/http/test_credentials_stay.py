"""Credentials go to the registry's own host, to its token server, and nowhere else."""

from pathlib import Path

import httpx
import pytest

from imageferry.model import RegistryAccess
from imageferry.registry.errors import InvalidResponse, Unauthorized
from imageferry.registry.http.auth import RegistryAuth
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.auth import Basic, Bearer
from testkit.registries.certificates import Authority
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.quirks import Quirks
from testkit.registries.storage import Storage
from tests.registry.opening import access, opened

NAME, PASSWORD = "ferry", "secret"
USERS = {NAME: PASSWORD}


@pytest.mark.parametrize("auth", [Basic(USERS), Bearer(USERS)])
async def test_not_along_a_redirect(auth: Basic | Bearer) -> None:
    with FakeRegistry(auth=auth) as registry, FakeRegistry(Quirks(refuse_authorization=True)) as store:
        digest = registry.add_blob("a/app", b"layer")
        store.add_blob("a/app", b"layer")
        registry.rules.append(Fault("blob-get", actions.redirect(store.url), skip=1))
        async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
            await repository.blobs.size(digest)
            assert await repository.blobs.read(digest, 100) in (b"layer",)
            assert await repository.blobs.read(digest, 100) == b"layer"
        assert store.count("blob-get") >= 1
        assert all(entry.authorization is None for entry in store.log)


async def test_a_challenge_of_another_host_is_not_answered() -> None:
    with FakeRegistry(auth=Basic(USERS)) as registry, FakeRegistry(auth=Basic(USERS)) as thief:
        digest = registry.add_blob("a/app", b"layer")
        registry.rules.append(Fault("blob-get", actions.redirect(thief.url)))
        async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
            await repository.blobs.size(digest)
            with pytest.raises(Unauthorized):
                await repository.blobs.read(digest, 100)
        assert [entry.authorization for entry in thief.log] == [None]


async def test_not_to_an_upload_at_another_host() -> None:
    storage = Storage()
    with (
        FakeRegistry(auth=Basic(USERS), storage=storage) as registry,
        FakeRegistry(Quirks(refuse_authorization=True), storage=storage) as uploads,
    ):
        registry.quirks.location, registry.quirks.location_base = "other-host", uploads.url
        async with opened(registry.host, entry=access(NAME, PASSWORD), writable=True) as repository:
            await (await repository.uploads.start(sha256(b"layer"))).put(b"layer")
        assert [entry.kind for entry in uploads.log] == ["upload-put"]
        assert all(entry.authorization is None for entry in uploads.log)


@pytest.mark.parametrize(
    ("realm", "words"),
    [
        ("file:///etc/passwd", "not an http or https address"),
        ("ftp://tokens.example/", "not an http or https address"),
        ("//tokens.example/", "not an http or https address"),
        ("https://", "not an http or https address"),
        ("http://tokens.example:port/", "not an address"),
    ],
)
async def test_not_to_a_token_server_that_is_no_address(realm: str, words: str) -> None:
    with FakeRegistry(auth=Bearer(USERS, realm=realm)) as registry:
        registry.image("a/app", "v1")
        async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
            with pytest.raises(InvalidResponse, match=words):
                await repository.manifests.head("v1")


async def test_not_in_the_clear_when_the_registry_speaks_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with FakeRegistry(auth=Bearer(USERS)) as tokens:
        bearer = Bearer(USERS, realm=f"{tokens.url}/token")
        with FakeRegistry(auth=bearer, tls=authority.server().server_context()) as registry:
            registry.image("a/app", "v1")
            entry = access(NAME, PASSWORD, insecure=False, ca_file=authority.ca_file)
            async with opened(registry.host, entry=entry) as repository:
                with pytest.raises(InvalidResponse, match="without TLS"):
                    await repository.manifests.head("v1")
        assert len(tokens.log) == 0


@pytest.mark.parametrize(
    "realm",
    [
        "https://169.254.169.254/latest/meta-data",
        "https://127.0.0.1:9/token",
        "https://[::1]/token",
        "https://[::ffff:169.254.169.254]/token",
        "https://metadata.google.internal/token",
        "https://localhost/token",
        "https://0.0.0.0/token",
    ],
)
async def test_not_to_an_address_inside_the_machine(realm: str) -> None:
    auth = RegistryAuth(RegistryAccess(), may_be_plain=False)
    auth.set_origin(httpx.URL("https://registry.example"))
    flow = auth.async_auth_flow(httpx.Request("GET", "https://registry.example/v2/", content=b""))
    request = await anext(flow)
    answer = httpx.Response(401, headers={"www-authenticate": f'Bearer realm="{realm}"'}, request=request)
    with pytest.raises(InvalidResponse, match="inside this machine's network"):
        await flow.asend(answer)
