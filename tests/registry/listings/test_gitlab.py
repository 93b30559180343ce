"""A group or a project of GitLab, at the registry's host or where its tokens come from."""

from collections.abc import Iterator

import pytest

from imageferry.model import RegistryAccess
from imageferry.registry.errors import InvalidResponse, NotFound, RegistryError, Unauthorized
from imageferry.registry.listings.find import ListingSettings, find_listing
from imageferry.registry.listings.listing import IncompleteListing, NotListable
from testkit.registries import actions
from testkit.registries.fault_rules import Action, Fault, Match
from testkit.registries.gitlab import GitLabApi
from testkit.registries.inprocess import FakeRegistry
from tests.registry.listings.opening import client_of, paths
from tests.registry.opening import access

TOKEN = access("ferry", "glpat-token-of-gitlab")
LOOPBACK = frozenset({"127.0.0.1"})
LIST = Match(path="/registry/repositories$")


@pytest.fixture
def gitlab() -> Iterator[GitLabApi]:
    """A group with a project of 120 repositories and one in a group below it."""
    big = [f"team/big/app{number:03}" for number in range(120)]
    with GitLabApi({"team/big": big, "team/sub/small": ["team/sub/small", "team/sub/small/x"]}) as running:
        yield running


async def listed(host: str, prefix: str, entry: RegistryAccess = TOKEN, url: str = "", api: bool = False) -> list[str]:
    settings = ListingSettings("gitlab" if api else None, url, insecure_hosts=LOOPBACK)
    async with client_of(host, entry) as client, find_listing(client, entry, settings) as listing:
        assert listing.api == "gitlab"
        return await paths(listing, prefix)


async def test_a_group_is_listed_page_by_page_with_the_groups_below_it(gitlab: GitLabApi) -> None:
    assert await listed(gitlab.host, "team") == [path for found in gitlab.projects.values() for path in found]
    assert gitlab.paths == ["/api/v4/groups/team/registry/repositories"] * 2
    assert [entry.authorization for entry in gitlab.log][1:] == ["Bearer glpat-token-of-gitlab"] * 2


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("team/sub", ["team/sub/small", "team/sub/small/x"]),
        ("team/sub/small", ["team/sub/small", "team/sub/small/x"]),
        ("team/sub/small/x", ["team/sub/small/x"]),
        ("team/big/app007", ["team/big/app007"]),
        ("team/none", []),
    ],
)
async def test_a_prefix_may_be_a_group_a_project_or_in_one(gitlab: GitLabApi, prefix: str, expected: list[str]) -> None:
    assert await listed(gitlab.host, prefix) == expected


async def test_an_api_elsewhere_and_below_a_path(gitlab: GitLabApi) -> None:
    gitlab.at = "/gitlab"
    with FakeRegistry() as registry:
        found = await listed(registry.host, "team/sub", url=f"{gitlab.url}/gitlab/", api=True)
        assert registry.count() == 0
    assert found == ["team/sub/small", "team/sub/small/x"]
    # Where the registry's challenge leads.
    assert await listed(gitlab.host, "team/sub") == found


async def test_a_registry_that_does_not_say_where_its_gitlab_is() -> None:
    expected = pytest.raises(NotListable, match="it does not say where its GitLab is; name it: `api_url`")
    with FakeRegistry() as registry, expected:
        await listed(registry.host, "team", api=True)


async def test_what_cannot_be_seen_is_an_error(gitlab: GitLabApi) -> None:
    with pytest.raises(NotFound, match=r"cannot list repositories of 127.0.0.1:\d+/absent"):
        await listed(gitlab.host, "absent")
    with pytest.raises(NotListable, match="GitLab cannot be listed as a whole: name a group or project"):
        await listed(gitlab.host, "")
    gitlab.rules.append(Fault("other", actions.respond(401)))
    with pytest.raises(Unauthorized):
        await listed(gitlab.host, "team", access())


async def test_a_registry_does_not_choose_where_the_token_is_sent(gitlab: GitLabApi) -> None:
    realm = f'Bearer realm="{gitlab.url.replace("127.0.0.1", "localhost")}/jwt/auth",service="x"'
    gitlab.rules.append(Fault("ping", actions.with_header("WWW-Authenticate", realm)))
    words = r"its GitLab is at another host; if 'http://localhost:\d+' is your GitLab, name it: `api_url`"
    with pytest.raises(NotListable, match=words):
        await listed(gitlab.host, "team")
    assert {entry.authorization for entry in gitlab.log} == {None}


def without_total(action: Action) -> list[Fault]:
    return [Fault(LIST, actions.without_header("X-Total")), Fault(LIST, action, skip=1)]


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        ([Fault(LIST, actions.replace_body(b"[]"), skip=1)], IncompleteListing),
        ([Fault(LIST, actions.with_header("X-Total", "121"), skip=1)], IncompleteListing),
        ([Fault(LIST, actions.with_header("X-Total", "121"))], IncompleteListing),
        (without_total(actions.replace_body(b'[{"path": "team/big/app000"}]')), IncompleteListing),
        (without_total(actions.with_header("X-Next-Page", "1")), IncompleteListing),
        (without_total(actions.without_header("X-Next-Page")), IncompleteListing),
        (without_total(actions.replace_body(b"{}")), InvalidResponse),
        (without_total(actions.respond(403)), RegistryError),
        (without_total(actions.respond(404)), RegistryError),
    ],
)
async def test_a_page_that_is_missing_is_an_error(
    gitlab: GitLabApi, faults: list[Fault], error: type[RegistryError]
) -> None:
    gitlab.rules.extend(Fault(fault.match, fault.action, skip=fault.skip) for fault in faults)
    with pytest.raises(error):
        await listed(gitlab.host, "team")
