"""A namespace of Quay: what is public, or what a token of an application may see."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from imageferry.model import RegistryAccess
from imageferry.registry.errors import InvalidResponse, LoginFailed, RegistryError
from imageferry.registry.listings.find import ListingSettings, find_listing
from imageferry.registry.listings.listing import (
    IncompleteListing,
    ListedRepository,
    ListedTag,
    NotListable,
    list_repositories,
)
from imageferry.registry.listings.quay import Quay
from testkit.registries import actions
from testkit.registries.fault_rules import Action, Fault, Match
from testkit.registries.quay import DIGEST, QuayApi
from tests.registry.listings.opening import client_of, paths
from tests.registry.opening import access

TOKEN = access("$oauthtoken", "token-of-an-application")
NOBODY = access()
WHEN = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
LIST = Match(path="/api/v1/repository$")


@pytest.fixture
def quay() -> Iterator[QuayApi]:
    """A namespace of 25 repositories, one of which is private, with ten on a page."""
    own = {f"team/app{number:02}": [f"v{tag}" for tag in range(120)] for number in range(24)}
    with QuayApi(
        own | {"team/chart": [], "team/hidden": [], "other/x": []}, frozenset({"team/hidden"}), page=10
    ) as api:
        yield api


async def listed(quay: QuayApi, prefix: str = "team", entry: RegistryAccess = NOBODY) -> list[str]:
    async with client_of(quay.host, entry) as client:
        return await paths(Quay(client, entry), prefix)


async def test_a_namespace_is_listed_page_by_page(quay: QuayApi) -> None:
    async with client_of(quay.host) as client, find_listing(client, NOBODY, ListingSettings("quay")) as listing:
        assert await list_repositories(listing, "team") == [
            ListedRepository(f"team/app{number:02}", WHEN) for number in range(24)
        ]
        assert await paths(listing, "team/app07") == ["team/app07"]
        assert await paths(listing, "absent") == []
    assert [entry.query.get("next_page") for entry in quay.log.entries("other")][:3] == [None, ["10"], ["20"]]


async def test_a_token_shows_private_repositories(quay: QuayApi) -> None:
    assert (await listed(quay, entry=TOKEN))[-1] == "team/hidden"
    with pytest.raises(RegistryError, match="answered 401"):
        await listed(quay, entry=access("$oauthtoken", "another-token"))


@pytest.mark.parametrize("name", ["ferry", "team+robot"])
async def test_a_login_that_lists_nothing_private_is_not_taken_for_nobody(quay: QuayApi, name: str) -> None:
    words = (
        r"takes neither passwords nor robots; give username: \$oauthtoken .* an entry for 127.0.0.1:\d+/team without"
    )
    with pytest.raises(LoginFailed, match=words):
        await listed(quay, entry=access(name, "secret-of-robot"))
    assert quay.paths == []


async def test_a_robot_sees_nothing_private_of_other_namespaces(quay: QuayApi) -> None:
    assert await listed(quay, "other", access("team+robot", "secret-of-robot")) == ["other/x"]
    assert {entry.authorization for entry in quay.log} == {None}


async def test_quay_as_a_whole_is_not_asked_for(quay: QuayApi) -> None:
    with pytest.raises(NotListable, match="Quay cannot be listed as a whole: name a namespace"):
        await listed(quay, "")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (actions.replace_body(b'{"repositories": [], "next_page": "10"}'), IncompleteListing),
        (actions.replace_body(b'{"repositories": [{"namespace": "team", "name": "app00"}]}'), IncompleteListing),
        (actions.replace_body(b'{"next_page": "x"}'), InvalidResponse),
        (actions.replace_body(b'{"repositories": "x"}'), InvalidResponse),
        (actions.replace_body(b'{"repositories": [{"name": "x"}]}'), InvalidResponse),
        (actions.respond(401), RegistryError),
        (actions.respond(403), RegistryError),
        (actions.respond(404), RegistryError),
    ],
)
async def test_a_page_that_is_missing_is_an_error(quay: QuayApi, fault: Action, error: type[RegistryError]) -> None:
    quay.rules.append(Fault(LIST, fault, skip=1))
    with pytest.raises(error):
        await listed(quay)


async def test_tags_come_with_digest_date_and_size(quay: QuayApi) -> None:
    async with client_of(quay.host) as client:
        listing = Quay(client)
        tags = [tag async for tag in listing.tags("team/app00")]
        assert [tag async for tag in listing.tags("team/gone")] == []
        for body in (b'{"tags": []}', b'{"tags": [], "has_additional": true}', b'{"has_additional": false}'):
            quay.rules[:] = [Fault(Match(path="/tag/$"), actions.replace_body(body), skip=1)]
            with pytest.raises(InvalidResponse):
                [tag async for tag in listing.tags("team/app00")]
    assert tags == [ListedTag(f"v{number}", DIGEST, WHEN, 4096) for number in range(120)]
