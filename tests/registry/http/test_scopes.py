"""Scopes that a registry wants besides those that a request needs."""

from collections.abc import AsyncIterator

import httpx
import pytest

from imageferry.registry import RegistryError, Repository
from imageferry.registry.errors import Unauthorized
from imageferry.registry.http.scopes import MOST_SCOPES, SCOPE_LENGTH, widen
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.auth import Bearer
from testkit.registries.exchange import Call, Reply, error
from testkit.registries.fault_rules import Fault, Proceed
from testkit.registries.inprocess import FakeRegistry
from tests.registry.opening import access, opened

NAME, PASSWORD = "ferry", "secret"
USERS = {NAME: PASSWORD}
PULL = "repository:a/app:pull"


@pytest.mark.parametrize(
    ("scopes", "named", "expected"),
    [
        ((PULL,), "", (PULL,)),
        ((PULL,), PULL, (PULL,)),
        (("repository:a/app:pull,push",), PULL, ("repository:a/app:pull,push",)),
        ((PULL,), "repository:a/app:metadata_read", ("repository:a/app:pull,metadata_read",)),
        (
            (PULL,),
            "repository:a/app:push,pull registry:catalog:*",
            ("repository:a/app:pull,push", "registry:catalog:*"),
        ),
        ((PULL, "repository:b:pull"), "repository:b:x", (PULL, "repository:b:pull,x")),
        (("repository:a/app:*",), "repository:a/app:x", ("repository:a/app:*",)),
        ((PULL,), "nothing : a: :b é:b:c " + "x" * SCOPE_LENGTH + ":y", (PULL,)),
        ((), PULL, (PULL,)),
    ],
)
def test_what_a_challenge_names_is_added(scopes: tuple[str, ...], named: str, expected: tuple[str, ...]) -> None:
    assert widen(scopes, named) == expected


def test_no_more_is_added_than_a_bound() -> None:
    assert len(widen((PULL,), " ".join(f"repository:{number}:pull" for number in range(1000)))) == MOST_SCOPES
    assert widen((PULL,), "repository:a/app:" + ",".join(map(str, range(100)))) == (PULL,)


def scopes(registry: FakeRegistry) -> list[list[str]]:
    """Return the scopes of each request for a token."""
    return [entry.query.get("scope", []) for entry in registry.log.entries("token")]


def metadata_read(call: Call) -> bool:
    """Whether a request must have the scope `metadata_read`, as at Azure."""
    return call.kind in ("tags", "upload-start", "manifest-put", "blob-get")


class Azure(Bearer):
    """Wants another scope for some requests than for the others, and names it in the challenge of a valid token."""

    extra = "metadata_read"
    names = True

    def check(self, call: Call, url: str) -> Reply | None:
        token = self.tokens.get((call.header("authorization") or "").removeprefix("Bearer "))
        if token is not None and metadata_read(call) and self.extra not in token.access.get(call.repository, ()):
            named = f'scope="repository:{call.repository}:{self.extra}",' if self.names else ""
            challenge = f'Bearer realm="{url}/token",service="azure",{named}error="insufficient_scope"'
            return error(401, "UNAUTHORIZED", "", {"WWW-Authenticate": challenge})
        return super().check(call, url)

    def _allowed(self, user: str | None, name: str) -> set[str]:
        return super()._allowed(user, name) | {self.extra}


async def everything(repository: Repository, digest: str) -> None:
    """Ask for what is read and what is written."""
    assert await repository.tags.all()
    manifest = await repository.manifests.get("v1")
    assert await repository.blobs.read(digest, 100)
    await (await repository.uploads.start(digest)).put(b"layer")
    await repository.manifests.put("v2", manifest)


@pytest.mark.parametrize("writable", [False, True])
async def test_a_scope_that_a_challenge_names_is_asked_for_too(writable: bool) -> None:
    with FakeRegistry(auth=Azure(USERS)) as registry:
        registry.image("a/app", "v1")
        digest = registry.add_blob("a/app", b"layer")
        async with opened(registry.host, entry=access(NAME, PASSWORD), writable=writable) as repository:
            for _ in range(2):
                await (everything(repository, digest) if writable else repository.tags.all())
        own = "repository:a/app:pull,push" if writable else "repository:a/app:pull"
        assert scopes(registry) == [[own], [own + ",metadata_read"]]
        # Nobody, a token without it, one with it; and then at once with it.
        assert [entry.status for entry in registry.log.entries("tags")] == [401, 401, 200, 200]
        assert {entry.status for entry in registry.log if entry.kind not in ("tags", "ping", "token")} <= {
            200,
            201,
            202,
        }


async def test_a_scope_that_is_not_granted_is_asked_for_once_and_costs_no_other_request_its_token() -> None:
    class Strict(Azure):
        async def token(self, call: Call) -> Reply:
            asked = call.entry.query.get("scope", [])
            return error(403, "DENIED", "no such scope") if self.extra in str(asked) else await super().token(call)

    with FakeRegistry(auth=Strict(USERS)) as registry:
        registry.image("a/app", "v1")
        async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
            for _ in range(3):
                with pytest.raises(Unauthorized, match="a/app"):
                    await repository.tags.all()
            assert await repository.manifests.head("v1")
        assert scopes(registry).count(["repository:a/app:pull,metadata_read"]) == 1


async def test_a_registry_that_names_a_new_scope_each_time_is_not_followed_without_end() -> None:
    number = iter(range(1000))

    async def another(call: Call, proceed: Proceed) -> Reply:
        challenge = f'Bearer realm="{registry.url}/token",scope="repository:a/app:x{next(number)}"'
        return error(401, "UNAUTHORIZED", "", {"WWW-Authenticate": challenge})

    with FakeRegistry(auth=Bearer(USERS)) as registry:
        registry.rules.append(Fault("tags", another))
        async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
            with pytest.raises(Unauthorized):
                await repository.tags.all()
        assert registry.counts() == {"ping": 1, "tags": 3, "token": 2}


async def test_a_stream_whose_token_lacks_a_scope_goes_on_with_another() -> None:
    auth = Azure(USERS)
    with FakeRegistry(auth=auth) as registry:
        refused = 'Bearer realm="%s/token",scope="repository:a/app:metadata_read",error="insufficient_scope"'
        headers = {"WWW-Authenticate": refused % registry.url}
        registry.rules.append(Fault("upload-patch", actions.refuse(401, "UNAUTHORIZED", "", headers), times=1))
        async with opened(registry.host, entry=access(NAME, PASSWORD), writable=True) as repository:
            upload = await repository.uploads.start(sha256(b"layer"))
            with pytest.raises(RegistryError, match="its token ended"):
                await upload.send(_Stream(b"layer"), 5, 5)
            await upload.resume(0, 5)
            await upload.send(_Stream(b"layer"), 5, 5)
            upload.took(5)
            await upload.commit()
        assert registry.blob("a/app", sha256(b"layer")) == b"layer"


class _Stream(httpx.AsyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body
