"""Who asks: tokens, names and passwords, and where they go."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from imageferry.registry import RegistryError
from imageferry.registry.errors import LoginFailed, Unauthorized, Unavailable
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.auth import Basic, Bearer
from testkit.registries.certificates import Authority
from testkit.registries.exchange import Call, Reply, error
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.storage import Storage
from tests.registry.opening import access, opened

NAME, PASSWORD = "robot$project+ci", "p:ä%20 word"
USERS = {NAME: PASSWORD}


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which tokens age."""
    made = Clock()
    monkeypatch.setattr("imageferry.registry.http.auth.time", SimpleNamespace(monotonic=made.monotonic))
    return made


@pytest.fixture
def bearer() -> Bearer:
    """Tokens for a user, and for nobody else."""
    return Bearer(USERS)


@pytest.fixture
def registry(bearer: Bearer) -> Iterator[FakeRegistry]:
    """A registry that wants tokens, with an image in it."""
    with FakeRegistry(auth=bearer) as made:
        made.image("a/app", "v1")
        yield made


def scopes(registry: FakeRegistry) -> list[list[str]]:
    """Return the scopes of each request for a token."""
    return [entry.query.get("scope", []) for entry in registry.log.entries("token")]


@pytest.mark.parametrize("name", ["token", "access_token", "both"])
async def test_a_token_is_asked_for_once(registry: FakeRegistry, bearer: Bearer, name: str) -> None:
    bearer.field_name = name
    async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
        for _ in range(3):
            assert await repository.manifests.head("v1")
    assert registry.counts() == {"ping": 1, "manifest-head": 4, "token": 1}
    (asked,) = registry.log.entries("token")
    assert asked.query == {"service": ["registry.example"], "scope": ["repository:a/app:pull"]}


async def test_many_that_wait_share_one_token(registry: FakeRegistry) -> None:
    registry.rules.append(Fault("token", actions.delay(0.2)))
    async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
        found = await asyncio.gather(*(repository.manifests.head("v1") for _ in range(30)))
    assert len({each.digest for each in found if each}) == 1
    assert registry.count("token") == 1


async def test_a_token_that_grows_old_is_renewed_in_time(registry: FakeRegistry, bearer: Bearer, clock: Clock) -> None:
    bearer.expires_in = 300
    async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
        for now in (1000.0, 1200.0, 1260.0, 1275.0):
            clock.now = now
            await repository.manifests.head("v1")
    # It was renewed before it ended, so that no request was refused but the first.
    assert [entry.status for entry in registry.log.entries("manifest-head")] == [401, 200, 200, 200, 200]
    assert registry.count("token") == 2


async def test_a_token_of_unknown_life_lives_for_a_minute(registry: FakeRegistry, bearer: Bearer, clock: Clock) -> None:
    bearer.expires_in = None
    async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
        for now in (1000.0, 1030.0, 1061.0):
            clock.now = now
            await repository.manifests.head("v1")
    assert registry.count("token") == 2


async def test_a_401_in_mid_run_renews_once_and_goes_on(registry: FakeRegistry, bearer: Bearer) -> None:
    async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
        await repository.manifests.head("v1")
        bearer.revoke_all()
        found = await asyncio.gather(*(repository.manifests.head("v1") for _ in range(10)))
    assert all(found)
    assert registry.count("token") == 2


async def test_a_token_that_does_not_reach_is_not_asked_for_without_end() -> None:
    with FakeRegistry(auth=Bearer(USERS, grants=lambda user, name: set())) as registry:
        registry.image("a/app", "v1")
        async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
            with pytest.raises(Unauthorized, match="a/app:v1"):
                await repository.manifests.head("v1")
        assert registry.count("token") == 1
        assert registry.count("manifest-head") == 2


async def test_each_repository_has_its_scope(registry: FakeRegistry) -> None:
    registry.image("b/app", "v1")
    async with opened(registry.host, entry=access(NAME, PASSWORD), writable=True) as repository:
        await repository.manifests.get("v1")
        registry.storage.repository("b/app")
        digest = next(iter(registry.storage.repositories["b/app"].blobs))
        assert await repository.uploads.mount(digest, "b/app") is None
    assert scopes(registry) == [
        ["repository:a/app:pull,push"],
        ["repository:a/app:pull,push", "repository:b/app:pull"],
    ]


async def test_nobody_asks_without_a_name() -> None:
    with FakeRegistry(auth=Bearer(anonymous=frozenset({"pull"}))) as registry:
        registry.image("a/app", "v1")
        async with opened(registry.host) as repository:
            assert await repository.manifests.head("v1")
        assert registry.log.entries("token")[0].authorization is None


async def test_a_refresh_token_is_posted() -> None:
    with FakeRegistry(auth=Bearer(refresh_tokens={"long-lived": "robot"}, field_name="access_token")) as registry:
        registry.image("a/app", "v1")
        async with opened(registry.host, entry=access(identity_token="long-lived")) as repository:
            assert await repository.manifests.head("v1")
        (asked,) = registry.log.entries("token")
        assert (asked.method, asked.query, asked.authorization) == ("POST", {}, None)
        assert asked.headers["content-type"] == "application/x-www-form-urlencoded"


async def test_basic_goes_with_every_request_after_the_first_401() -> None:
    with FakeRegistry(auth=Basic(USERS, open_ping=True)) as registry:
        registry.image("a/app", "v1")
        async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
            for _ in range(3):
                await repository.manifests.get("v1")
        assert [entry.status for entry in registry.log.entries("manifest-get")] == [401, 200, 200, 200]


async def test_the_bearer_is_taken_from_several_challenges() -> None:
    bearer = Bearer(USERS, more_challenges=['Basic realm="a, b=\\"c\\""', "Negotiate"])
    with FakeRegistry(auth=bearer) as registry:
        registry.image("a/app", "v1")
        async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
            assert await repository.manifests.head("v1")
        assert registry.count("token") == 1


@pytest.mark.parametrize("auth", [Basic(USERS, silent=True), Bearer(USERS, silent=True)])
async def test_a_401_without_a_challenge_is_told(auth: Basic | Bearer) -> None:
    with FakeRegistry(auth=auth) as registry:
        registry.image("a/app", "v1")
        async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
            with pytest.raises(Unauthorized, match="username and password"):
                await repository.manifests.head("v1")
        assert registry.count("manifest-head") == 1


@pytest.mark.parametrize("auth", [Basic(USERS), Bearer(USERS)])
@pytest.mark.parametrize("entry", [access(NAME, "wrong"), access()])
async def test_a_wrong_password_is_told_at_once(auth: Basic | Bearer, entry: object) -> None:
    with FakeRegistry(auth=auth) as registry:
        registry.image("a/app", "v1")
        async with opened(registry.host, entry=entry) as repository:  # type: ignore[arg-type]
            with pytest.raises(Unauthorized, match="username and password") as told:
                await repository.manifests.head("v1")
        assert not told.value.transient
        assert "wrong" not in str(told.value)
        assert registry.count("token", "manifest-head") <= 2


async def test_a_token_server_that_is_busy_is_asked_again(registry: FakeRegistry, pauses: list[float]) -> None:
    registry.rules.append(Fault("token", actions.too_many(3), times=2))
    async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
        assert await repository.manifests.head("v1")
    assert pauses == [3.0, 3.0]
    registry.clear_log()
    registry.rules[:] = [Fault("token", actions.refuse(502, "BAD_GATEWAY"))]
    async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
        with pytest.raises(Unavailable, match="502"):
            await repository.manifests.head("v1")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"token": 5}',
        b'{"token": "a\\nb"}',
        b'{"token": "t", "expires_in": "soon"}',
        b'{"token": "t", "expires_in": 1' + b"0" * 400 + b"}",
        b'{"token": ' + b"[" * 60_000,
    ],
)
async def test_a_token_server_that_gives_no_token_is_told(registry: FakeRegistry, body: bytes) -> None:
    registry.rules.append(Fault("token", actions.respond(200, body)))
    async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
        with pytest.raises(RegistryError, match="gave no token"):
            await repository.manifests.head("v1")


async def test_a_page_for_people_at_the_token_server_is_told(registry: FakeRegistry) -> None:
    registry.rules.append(Fault("token", actions.html(403)))
    async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
        with pytest.raises(LoginFailed, match="403"):
            await repository.manifests.head("v1")


async def test_a_login_is_named_with_the_port_at_which_it_was_asked(registry: FakeRegistry) -> None:
    words = (
        f"cannot log in to {registry.host}: {registry.host} answered 401 Unauthorized (UNAUTHORIZED: incorrect "
        "username or password); check its username and password"
    )
    async with opened(registry.host, entry=access(NAME, "wrong-password")) as repository:
        with pytest.raises(LoginFailed) as told:
            await repository.manifests.head("v1")
    assert str(told.value) == words
    registry.rules.append(Fault("token", actions.respond(200, b"{}")))
    async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
        with pytest.raises(RegistryError, match=f"cannot log in to {registry.host}: the token server {registry.host}"):
            await repository.manifests.head("v1")


async def test_secrets_are_in_no_error(registry: FakeRegistry) -> None:
    registry.rules.append(Fault(Match(kind="manifest-get"), actions.hang_up()))
    async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
        with pytest.raises(RegistryError) as told:
            await repository.manifests.get("v1")
    error: BaseException | None = told.value
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__
    assert PASSWORD not in repr(vars(error)) + str(error)


async def test_an_identity_token_is_not_carried_along_a_redirect() -> None:
    with FakeRegistry() as thief, FakeRegistry(auth=Bearer(refresh_tokens={"long-lived": "robot"})) as registry:
        registry.image("a/app", "v1")
        registry.rules.append(Fault("token", actions.redirect(thief.url)))
        async with opened(registry.host, entry=access(identity_token="long-lived")) as repository:
            with pytest.raises(RegistryError, match="sends the identity token on to") as told:
                await repository.manifests.head("v1")
        assert "long-lived" not in str(told.value)
        assert len(thief.log) == 0


async def test_a_realm_does_not_say_who_asks(registry: FakeRegistry, bearer: Bearer) -> None:
    bearer.realm = registry.url.replace("//", "//someone:else@") + "/token"
    async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
        assert await repository.manifests.head("v1")


@pytest.mark.parametrize("life", [b"-5", b"NaN", b"0", b"null"])
async def test_a_life_that_is_none_is_a_minute(registry: FakeRegistry, clock: Clock, life: bytes) -> None:
    body = b'{"token": "t", "expires_in": ' + life + b"}"
    registry.rules.append(Fault("token", actions.respond(200, body)))
    registry.auth = None
    challenge = {"WWW-Authenticate": f'Bearer realm="{registry.url}/token"'}
    registry.rules.append(Fault("manifest-head", actions.refuse(401, "UNAUTHORIZED", "", challenge), times=1))
    async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
        for now in (1000.0, 1030.0, 1061.0):
            clock.now = now
            await repository.manifests.head("v1")
    assert registry.count("token") == 2


async def test_a_token_without_end_is_not_read_to_its_end(registry: FakeRegistry) -> None:
    registry.rules.append(Fault("token", actions.stall_after(3 * 1024 * 1024)))
    registry.rules.append(Fault("token", actions.respond(200, b'{"token": "' + b"x" * 8_000_000 + b'"}')))
    async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
        with pytest.raises(RegistryError, match="gave no token"):
            await repository.manifests.head("v1")


class PingOnly(Bearer):
    """Says only at /v2/ that it wants a login, and answers nobody elsewhere as if nothing were there."""

    status = 404

    def check(self, call: Call, url: str) -> Reply | None:
        refusal = super().check(call, url)
        if refusal is None or call.kind == "ping":
            return refusal
        return error(self.status, "MANIFEST_UNKNOWN" if self.status == 404 else "DENIED")


class BasicPingOnly(Basic):
    """The same with Basic."""

    def check(self, call: Call, url: str) -> Reply | None:
        refusal = super().check(call, url)
        return refusal if refusal is None or call.kind == "ping" else error(404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("auth", [PingOnly(USERS), BasicPingOnly(USERS)])
@pytest.mark.parametrize("insecure", [True, False])
async def test_a_challenge_at_the_ping_alone_is_answered(auth: Bearer | Basic, insecure: bool, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = None if insecure else authority.server().server_context()
    entry = access(NAME, PASSWORD, insecure=insecure, ca_file=None if insecure else authority.ca_file)
    with FakeRegistry(auth=auth, tls=tls) as registry:
        registry.image("a/app", "v1")
        async with opened(registry.host, entry=entry, writable=True) as repository:
            assert await repository.manifests.head("v1")
            assert await repository.tags.all() == ["v1"]
            assert await repository.manifests.head("v2") is None
            await repository.uploads.start(sha256(b"layer"))
        # The ping that finds out whether it speaks TLS is the same.
        assert registry.count("ping") == 1
        assert [entry.status for entry in registry.log.entries("manifest-head")] == [404, 200, 404]


@pytest.mark.parametrize("status", [403, 401])
async def test_the_same_where_nobody_is_refused_in_other_words(status: int) -> None:
    auth = PingOnly(USERS)
    auth.status = status
    with FakeRegistry(auth=auth) as registry:
        registry.image("a/app", "v1")
        async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
            assert await repository.manifests.get("v1")


async def test_where_nobody_has_to_log_in_what_is_missing_costs_no_more(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with FakeRegistry(tls=authority.server().server_context()) as registry:
        registry.image("a/app", "v1")
        entry = access(NAME, PASSWORD, insecure=False, ca_file=authority.ca_file)
        async with opened(registry.host, entry=entry) as repository:
            assert await repository.manifests.head("v1")
            assert registry.counts() == {"manifest-head": 1}
            await asyncio.gather(*(repository.manifests.head(f"w{number}") for number in range(5)))
        assert registry.counts() == {"manifest-head": 6, "ping": 1}
        registry.clear_log()
        async with opened(registry.host, entry=access(insecure=False, ca_file=authority.ca_file)) as repository:
            assert await repository.manifests.head("w1") is None
        assert registry.counts() == {"manifest-head": 1}


@pytest.mark.parametrize("verb", ["read", "upload"])
async def test_a_store_with_a_token_server_of_its_own_is_asked_as_nobody(verb: str) -> None:
    storage = Storage()
    with (
        FakeRegistry(auth=Basic(USERS), storage=storage) as registry,
        FakeRegistry(auth=Bearer(anonymous=frozenset({"pull", "push"})), storage=storage) as store,
    ):
        digest = registry.add_blob("a/app", b"layer")
        registry.rules.append(Fault("blob-get", actions.redirect(store.url)))
        registry.quirks.location, registry.quirks.location_base = "other-host", store.url
        async with opened(registry.host, entry=access(NAME, PASSWORD), writable=True) as repository:
            for _ in range(2):
                if verb == "read":
                    assert await repository.blobs.read(digest, 100) == b"layer"
                else:
                    await (await repository.uploads.start(sha256(b"other"))).put(b"other")
        assert store.count("token") == 1
        assert all((entry.authorization or "Bearer").startswith("Bearer") for entry in store.log)
        assert store.log.entries("token")[0].authorization is None


async def test_a_store_that_wants_a_password_is_the_one_that_is_named() -> None:
    with FakeRegistry(auth=Basic(USERS)) as registry, FakeRegistry(auth=Bearer(USERS)) as store:
        digest = registry.add_blob("a/app", b"layer")
        registry.rules.append(Fault("blob-get", actions.redirect(store.url)))
        async with opened(registry.host, entry=access(NAME, PASSWORD)) as repository:
            with pytest.raises(LoginFailed) as told:
                await repository.blobs.read(digest, 100)
            assert str(told.value) == (
                f"cannot log in to {store.host}: {store.host} answered 401 Unauthorized (UNAUTHORIZED: incorrect "
                f"username or password) to an anonymous request; {registry.host} leads there, and the credentials for "
                "it are not sent there"
            )
            store.auth = Basic(USERS)
            with pytest.raises(Unauthorized) as refused:
                await repository.blobs.read(digest, 100)
        assert str(refused.value).endswith(
            f"{store.host}, to which {registry.host} leads, answered 401 Unauthorized (UNAUTHORIZED: authentication "
            f"required); the credentials for {registry.host} are not sent there"
        )
        assert all(entry.authorization is None for entry in store.log)
