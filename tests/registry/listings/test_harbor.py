"""A Harbor's repositories: all that the login may see, counted, or an error."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from imageferry.model import RegistryAccess
from imageferry.registry.errors import InvalidResponse, LoginFailed, NotFound, RegistryError, Unauthorized
from imageferry.registry.listings.harbor import Harbor
from imageferry.registry.listings.listing import IncompleteListing, ListedTag, list_repositories
from testkit.registries import actions
from testkit.registries.exchange import Reply
from testkit.registries.fault_rules import Action, Fault, Match
from testkit.registries.harbor import DIGEST, HarborApi, artifact
from tests.registry.listings.opening import client_of, paths
from tests.registry.opening import access

ROBOT = access("robot$team+ferry", "secret-of-harbor")
NOBODY = access()
TEAM = Match(path="/projects/team/repositories$")


@pytest.fixture
def harbor() -> Iterator[HarborApi]:
    """Two projects: one with 230 repositories, one for its members."""
    team = [f"app{number:03}" for number in range(228)] + ["sub/app", "sub/deep/app"]
    with HarborApi({"team": team, "hidden": ["x"], "empty": []}, private=frozenset({"hidden"})) as running:
        yield running


async def listed(harbor: HarborApi, prefix: str = "", entry: RegistryAccess = ROBOT) -> list[str]:
    async with client_of(harbor.host, entry) as client:
        return await paths(Harbor(client, entry), prefix)


async def test_a_project_is_listed_page_by_page(harbor: HarborApi) -> None:
    found = await listed(harbor, "team")
    assert found == [f"team/{name}" for name in harbor.projects["team"]]
    assert harbor.paths == ["/api/v2.0/projects/team/repositories"] * 3
    assert await listed(harbor, "team/sub") == ["team/sub/app", "team/sub/deep/app"]


async def test_all_projects_that_the_login_may_see_are_listed(harbor: HarborApi) -> None:
    assert len(await listed(harbor)) == 231
    # The name and password go with the first request: nobody is shown less, with status 200.
    assert len(await listed(harbor, entry=NOBODY)) == 230


@pytest.mark.parametrize(("prefix", "kind"), [("absent", NotFound), ("hidden", Unauthorized)])
async def test_a_project_that_cannot_be_seen_is_an_error(
    harbor: HarborApi, prefix: str, kind: type[RegistryError]
) -> None:
    with pytest.raises(kind, match=r"cannot list repositories of 127.0.0.1:\d+: 127.0.0.1:\d+ answered 40[14]"):
        await listed(harbor, prefix, NOBODY)


async def test_a_project_that_is_deleted_meanwhile_has_no_repositories(harbor: HarborApi) -> None:
    harbor.rules.append(Fault(Match(path="/projects/hidden/"), actions.refuse(404, "NOT_FOUND")))
    assert len(await listed(harbor)) == 230


def total(number: str) -> actions.Change:
    return lambda reply: reply.set("X-Total-Count", number)


def without_one(reply: Reply) -> None:
    reply.body = json.dumps(json.loads(reply.body)[1:]).encode()


@pytest.mark.parametrize(
    ("fault", "skip", "words"),
    [
        (actions.change(total("231")), 0, "it counts 231 entries, but gave 230"),
        (actions.change(total("229")), 0, "it counts 229 entries, but gave 230"),
        (actions.change(total("229")), 2, "it first counted 230 entries, then 229; run again"),
        (actions.change(total("many")), 0, "it does not say how many there are"),
        (actions.without_header("X-Total-Count"), 0, "it does not say how many there are"),
        (actions.change(without_one), 1, "it counts 230 entries, but gave 228"),
        (actions.replace_body(b"[]"), 1, "it counts 230 entries, but gave 100"),
        (actions.replace_body(b"null"), 1, "it counts 230 entries, but gave 100"),
        (actions.replace_body(b'[{"name": "team/app000"}]'), 1, "it lists team/app000 twice"),
    ],
)
async def test_pages_that_do_not_add_up_are_an_error(harbor: HarborApi, fault: Action, skip: int, words: str) -> None:
    harbor.rules.append(Fault(TEAM, fault, skip=skip))
    with pytest.raises(IncompleteListing, match=words):
        await listed(harbor, "team")


@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_a_page_that_is_missing_is_an_error(harbor: HarborApi, status: int) -> None:
    harbor.rules.append(Fault(TEAM, actions.refuse(status, "DENIED"), skip=1))
    with pytest.raises(RegistryError):
        await listed(harbor, "team")


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'[{"id": 1}]', b'[{"name": null}]'])
async def test_what_is_no_list_is_an_error(harbor: HarborApi, body: bytes) -> None:
    harbor.rules.append(Fault(TEAM, actions.replace_body(body)))
    with pytest.raises(InvalidResponse, match="check `api` and `api_url` of this registry"):
        await listed(harbor, "team")


async def test_an_identity_token_is_not_taken_for_nobody(harbor: HarborApi) -> None:
    entry = access(identity_token="token-of-identity")
    async with client_of(harbor.host, entry) as client:
        with pytest.raises(LoginFailed, match="give a username and a password or token"):
            await list_repositories(Harbor(client, entry))
    assert harbor.paths == []


async def test_tags_come_with_digest_date_and_size(harbor: HarborApi) -> None:
    other = DIGEST.replace("ab", "cd")
    harbor.artifacts["team/sub/app"] = [artifact(["v1", "latest"]), artifact(None), artifact(["v2"], other)]
    when = datetime(2024, 5, 6, 7, 8, 9, 123000, UTC)
    async with client_of(harbor.host, ROBOT) as client:
        listing = Harbor(client, ROBOT)
        assert [tag async for tag in listing.tags("team/sub/app")] == [
            ListedTag("v1", DIGEST, when, 4096),
            ListedTag("latest", DIGEST, when, 4096),
            ListedTag("v2", other, when, 4096),
        ]
        assert [tag async for tag in listing.tags("team/gone")] == []
        harbor.rules.append(Fault(None, actions.refuse(403, "FORBIDDEN")))
        with pytest.raises(RegistryError, match="cannot list tags of"):
            [tag async for tag in listing.tags("team/sub/app")]


async def test_a_digest_that_is_none_is_an_error(harbor: HarborApi) -> None:
    harbor.artifacts["team/app000"] = [artifact(["v1"], "sha256:../../etc")]
    async with client_of(harbor.host, ROBOT) as client:
        with pytest.raises(InvalidResponse, match="a digest that is none"):
            [tag async for tag in Harbor(client, ROBOT).tags("team/app000")]
