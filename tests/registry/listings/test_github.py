"""GitHub's registry: what a token may see of an organization or a user."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from imageferry.model import RegistryAccess
from imageferry.registry.errors import InvalidResponse, LoginFailed, NotFound, RegistryError, Unauthorized
from imageferry.registry.listings.find import ListingSettings, find_listing
from imageferry.registry.listings.github import GitHub
from imageferry.registry.listings.listing import (
    IncompleteListing,
    ListedRepository,
    ListedTag,
    NotListable,
    list_repositories,
)
from testkit.registries import actions
from testkit.registries.fault_rules import Action, Fault, Match
from testkit.registries.github import DIGEST, GitHubApi
from testkit.registries.inprocess import FakeRegistry
from tests.registry.listings.opening import client_of, paths
from tests.registry.opening import access

TOKEN = access("ferry", "ghp_token-of-github")
WHEN = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
LIST = Match(path="/packages$")


@pytest.fixture
def github() -> Iterator[GitHubApi]:
    """An organization with 120 packages, and a user."""
    team: dict[str, list[list[str]]] = {f"app{number:03}": [["v1", "latest"], [], ["v2"]] for number in range(119)}
    with GitHubApi({"team": team | {"sub/app": [["v1"]]}}, {"ferry": {"tool": [["v1"]]}}) as running:
        yield running


@asynccontextmanager
async def opened(github: GitHubApi, entry: RegistryAccess = TOKEN) -> AsyncIterator[GitHub]:
    """Open the listing of a registry whose API is at another host."""
    settings = ListingSettings("ghcr", github.url, insecure_hosts=frozenset({"127.0.0.1"}))
    with FakeRegistry() as registry:
        async with client_of(registry.host, entry) as client, find_listing(client, entry, settings) as listing:
            assert isinstance(listing, GitHub)
            yield listing
        assert registry.count() == 0


async def test_an_organization_is_listed_page_by_page(github: GitHubApi) -> None:
    async with opened(github) as listing:
        found = await list_repositories(listing, "team")
        assert await paths(listing, "team/sub") == ["team/sub/app"]
    assert len(found) == 120
    assert found[0] == ListedRepository("team/app000", WHEN)
    assert github.paths[:2] == ["/orgs/team/packages"] * 2


async def test_an_owner_may_be_a_user(github: GitHubApi) -> None:
    async with opened(github) as listing:
        assert await paths(listing, "ferry") == ["ferry/tool"]
        assert [tag.name async for tag in listing.tags("ferry/tool")] == ["v1"]
        with pytest.raises(NotFound, match=r"cannot list repositories of 127.0.0.1:\d+/absent"):
            await paths(listing, "absent")
    asked = ["/orgs/ferry/packages", "/users/ferry/packages", "/users/ferry/packages/container/tool/versions"]
    assert github.paths[:3] == asked


async def test_without_a_token_nothing_is_asked(github: GitHubApi) -> None:
    async with opened(github, access()) as listing:
        with pytest.raises(LoginFailed, match=r"give a personal access token \(classic\) with read:packages as the"):
            await paths(listing, "team")
    assert github.paths == []


async def test_a_token_that_is_refused_is_an_error(github: GitHubApi) -> None:
    async with opened(github, access("ferry", "another-token")) as listing:
        with pytest.raises(Unauthorized, match=r"answered 401 .*Bad credentials.*; give a personal access token") as no:
            await paths(listing, "team")
    assert "another-token" not in str(no.value)


async def test_github_as_a_whole_is_not_asked_for(github: GitHubApi) -> None:
    async with opened(github) as listing:
        with pytest.raises(NotListable, match="GitHub's registry cannot be listed as a whole: name an owner"):
            await paths(listing)
    assert github.paths == []


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (actions.replace_body(b'[{"name": "app000"}]'), IncompleteListing),
        (actions.with_header("Link", '<https://localhost/orgs/team/packages?page=3>; rel="next"'), IncompleteListing),
        (actions.with_header("Link", '<?package_type=container&per_page=100>; rel="next"'), IncompleteListing),
        (actions.replace_body(b"{}"), InvalidResponse),
        (actions.replace_body(b'[{"id": 1}]'), InvalidResponse),
        (actions.respond(401), RegistryError),
        (actions.respond(403), RegistryError),
        (actions.respond(404), RegistryError),
    ],
)
async def test_a_page_that_is_missing_is_an_error(github: GitHubApi, fault: Action, error: type[RegistryError]) -> None:
    github.rules.append(Fault(LIST, fault, skip=1))
    async with opened(github) as listing:
        with pytest.raises(error):
            await paths(listing, "team")


async def test_tags_come_with_digest_and_date(github: GitHubApi) -> None:
    async with opened(github) as listing:
        assert [tag async for tag in listing.tags("team/app000")] == [
            ListedTag(name, DIGEST, WHEN) for name in ("v1", "latest", "v2")
        ]
        assert [tag.name async for tag in listing.tags("team/sub/app")] == ["v1"]
        assert [tag async for tag in listing.tags("team/gone")] == []
        for body in (b'[{"name": "x"}]', b'[{"name": "%s"}]' % DIGEST.encode(), b'[{"metadata": {"container": 1}}]'):
            github.rules[:] = [Fault(Match(path="/versions$"), actions.replace_body(body))]
            with pytest.raises(InvalidResponse):
                [tag async for tag in listing.tags("team/app000")]
