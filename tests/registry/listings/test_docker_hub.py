"""A namespace of Docker Hub: counted, with the login sent to its API alone."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from imageferry.model import RegistryAccess
from imageferry.registry.errors import InvalidResponse, LoginFailed, NotFound, RegistryError
from imageferry.registry.listings.docker_hub import DockerHub
from imageferry.registry.listings.find import ListingSettings, find_listing
from imageferry.registry.listings.listing import (
    IncompleteListing,
    ListedRepository,
    ListedTag,
    NotListable,
    list_repositories,
)
from testkit.registries import actions
from testkit.registries.docker_hub import DIGEST, TOKEN, DockerHubApi, hub_tag
from testkit.registries.fault_rules import Action, Fault, Match
from testkit.registries.inprocess import FakeRegistry
from tests.registry.listings.opening import client_of, paths
from tests.registry.opening import access

USER = access("ferry", "secret-of-hub")
NOBODY = access()
WHEN = datetime(2024, 5, 6, 7, 8, 9, 123456, UTC)
TEAM = Match(path="/v2/repositories/team/$")


@pytest.fixture
def hub() -> Iterator[DockerHubApi]:
    """A namespace of 230 repositories and a private one."""
    team = [f"app{number:03}" for number in range(230)] + ["hidden"]
    with DockerHubApi({"team": team}, private=frozenset({"team/hidden"})) as running:
        yield running


@asynccontextmanager
async def opened(hub: DockerHubApi, entry: RegistryAccess = NOBODY, url: str = "") -> AsyncIterator[DockerHub]:
    """Open the listing of a registry whose API is at another host."""
    settings = ListingSettings("dockerhub", url or hub.url, insecure_hosts=frozenset({"127.0.0.1"}))
    with FakeRegistry() as registry:
        async with client_of(registry.host, entry) as client, find_listing(client, entry, settings) as listing:
            assert isinstance(listing, DockerHub)
            yield listing
        assert registry.count() == 0


async def test_a_namespace_is_listed_page_by_page(hub: DockerHubApi) -> None:
    async with opened(hub) as listing:
        found = await list_repositories(listing, "team")
        assert await paths(listing, "team/app007") == ["team/app007"]
    assert found == [ListedRepository(f"team/app{number:03}", WHEN) for number in range(230)]
    assert hub.paths[:3] == ["/v2/repositories/team/"] * 3
    assert {entry.authorization for entry in hub.log} == {None}


async def test_a_login_shows_private_repositories(hub: DockerHubApi) -> None:
    async with opened(hub, USER) as listing:
        assert len(await paths(listing, "team")) == 231
        assert (await paths(listing, "team"))[-1] == "team/hidden"
    assert hub.paths.count("/v2/auth/token") == 1
    sent = {entry.authorization for entry in hub.log if entry.path.startswith("/v2/repositories")}
    assert sent == {f"Bearer {TOKEN}"}


async def test_a_login_that_is_refused_is_an_error(hub: DockerHubApi) -> None:
    async with opened(hub, access("ferry", "another-secret")) as listing:
        with pytest.raises(
            LoginFailed, match=r"Incorrect authentication credentials.*; check the username and the"
        ) as no:
            await paths(listing, "team")
    assert "another-secret" not in str(no.value)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"access_token": ""}', b'{"access_token": "a\\nb"}'])
async def test_a_token_that_is_none_is_an_error(hub: DockerHubApi, body: bytes) -> None:
    hub.rules.append(Fault(Match(path="/auth/token$"), actions.replace_body(body)))
    async with opened(hub, USER) as listing:
        with pytest.raises(InvalidResponse, match="gave no token"):
            await paths(listing, "team")


async def test_the_login_is_carried_to_no_other_host(hub: DockerHubApi) -> None:
    with DockerHubApi({"team": ["public"]}) as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost")
        hub.rules.append(Fault(Match(path="/auth/token$"), actions.redirect(elsewhere), times=1))
        async with opened(hub, USER) as listing:
            with pytest.raises(InvalidResponse):
                await paths(listing, "team")
            # The API itself leads on, with a redirect and with its next page.
            hub.rules.append(Fault(TEAM, actions.redirect(elsewhere), times=1))
            with pytest.raises(IncompleteListing, match=r"localhost:\d+, to which it leads, is not sent the login"):
                await paths(listing, "team")
            next_page = f'{{"count": 1, "results": [], "next": "{elsewhere}/v2/repositories/team/?page=2"}}'
            asked = len(other.log)
            hub.rules.append(Fault(TEAM, actions.replace_body(next_page.encode())))
            with pytest.raises(IncompleteListing, match=r"at another host, localhost:\d+, and is not read there"):
                await paths(listing, "team")
        assert len(other.log) == asked
        assert {entry.authorization for entry in other.log} <= {None}


async def test_a_namespace_that_does_not_exist_is_an_error(hub: DockerHubApi) -> None:
    async with opened(hub) as listing:
        with pytest.raises(NotFound, match=r"cannot list repositories of 127.0.0.1:\d+/absent"):
            await paths(listing, "absent")


async def test_docker_hub_as_a_whole_is_not_asked_for(hub: DockerHubApi) -> None:
    async with opened(hub) as listing:
        with pytest.raises(NotListable, match="Docker Hub cannot be listed as a whole: name a namespace, as"):
            await paths(listing)
    assert len(hub.log) == 0


@pytest.mark.parametrize(
    ("fault", "skip", "words"),
    [
        (actions.replace_body(b'{"count": 230, "next": null, "results": []}'), 1, "counts 230 entries, but gave 100"),
        (actions.replace_body(b'{"count": 230, "next": null, "results": null}'), 0, "counts 230 entries, but gave 0"),
        (
            actions.replace_body(b'{"count": 229, "next": null, "results": []}'),
            1,
            "first counted 230 entries, then 229",
        ),
        (actions.replace_body(b'{"count": 230, "next": "?page_size=100", "results": []}'), 1, "lead in a circle"),
        (actions.replace_body(b'{"count": 230, "results": [{"name": "app000"}]}'), 1, "lists app000 twice"),
        (actions.replace_body(b'{"next": null, "results": []}'), 0, "does not say how many there are"),
        (actions.replace_body(b'{"count": -1, "results": []}'), 0, "does not say how many there are"),
    ],
)
async def test_pages_that_do_not_add_up_are_an_error(hub: DockerHubApi, fault: Action, skip: int, words: str) -> None:
    hub.rules.append(Fault(TEAM, fault, skip=skip))
    async with opened(hub) as listing:
        with pytest.raises(IncompleteListing, match=words):
            await paths(listing, "team")


@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_a_page_that_is_missing_is_an_error(hub: DockerHubApi, status: int) -> None:
    hub.rules.append(Fault(TEAM, actions.respond(status), skip=1))
    async with opened(hub) as listing:
        with pytest.raises(RegistryError):
            await paths(listing, "team")


async def test_tags_come_with_digest_date_and_size(hub: DockerHubApi) -> None:
    hub.repository_tags["team/app000"] = [*(hub_tag(f"v{number}") for number in range(120)), hub_tag("old", None)]
    async with opened(hub) as listing:
        tags = [tag async for tag in listing.tags("team/app000")]
        assert [tag async for tag in listing.tags("team/gone")] == []
    assert len(tags) == 121
    assert tags[0] == ListedTag("v0", DIGEST, WHEN, 4096)
    assert tags[-1] == ListedTag("old", None, WHEN, 4096)
