"""Google's registries: what is below a path, and below that."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from imageferry.registry.errors import InvalidResponse, NotFound, RegistryError
from imageferry.registry.listings.artifact_registry import ArtifactRegistry
from imageferry.registry.listings.find import ListingSettings, find_listing
from imageferry.registry.listings.listing import IncompleteListing, ListedTag, NotListable, list_repositories
from testkit.registries import actions
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.google import DIGEST, GoogleRegistry
from tests.registry.listings.opening import client_of, paths

WHEN = datetime(2024, 5, 6, 7, 8, 9, 123000, UTC)
NAMES = ["p/r/app", "p/r/app/debug", "p/r/sub/deep/x", "p/s/y", "p/s/App", "q/z"]


@pytest.fixture
def google() -> Iterator[GoogleRegistry]:
    """Two projects; some repositories have others below them."""
    with GoogleRegistry({name: ["v1", "latest", "v2"] for name in NAMES}) as running:
        yield running


async def listed(google: GoogleRegistry, prefix: str) -> list[str]:
    async with client_of(google.host) as client:
        return await paths(ArtifactRegistry(client), prefix)


async def test_a_path_is_walked_down(google: GoogleRegistry) -> None:
    async with client_of(google.host) as client, find_listing(client, None, ListingSettings("gar")) as listing:
        found = await list_repositories(listing, "p")
        assert await paths(listing, "p/r/app") == ["p/r/app", "p/r/app/debug"]
    assert sorted(each.path for each in found) == sorted(NAMES[:-1])
    assert {each.pushed for each in found if not each.problem} == {WHEN}
    # A name that is none is reported, and not asked for.
    assert [each.path for each in found if each.problem] == ["p/s/App"]
    assert not any("App" in path for path in google.paths)
    # Each path once, with a token of its own.
    assert google.log.entries("token")[0].query["scope"] == ["repository:p:pull"]


async def test_a_repository_may_be_deleted_meanwhile(google: GoogleRegistry) -> None:
    google.rules.append(Fault(Match(path="/p/r/app/tags/list$"), actions.refuse(404, "NAME_UNKNOWN")))
    assert await listed(google, "p/r") == ["p/r/sub/deep/x"]


async def test_a_path_that_does_not_exist_is_an_error(google: GoogleRegistry) -> None:
    with pytest.raises(NotFound, match=r"cannot list repositories of 127.0.0.1:\d+/absent"):
        await listed(google, "absent")


@pytest.mark.parametrize("prefix", ["", "../p", "P"])
async def test_a_prefix_that_cannot_be_asked_for(google: GoogleRegistry, prefix: str) -> None:
    with pytest.raises(NotListable, match="name a project" if not prefix else "is not a repository"):
        await listed(google, prefix)
    assert len(google.log) == 0


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_a_path_that_is_refused_is_an_error(google: GoogleRegistry, status: int) -> None:
    google.rules.append(Fault(Match(path="/p/r/sub/tags/list$"), actions.refuse(status, "DENIED")))
    with pytest.raises(RegistryError):
        await listed(google, "p")


@pytest.mark.parametrize(
    "body",
    [
        # A registry that is none of Google's.
        b'{"name": "p", "tags": ["v1"]}',
        *(b"", b"[]", b'{"child": "x"}', b'{"child": [1]}', b'{"child": [], "tags": [null]}'),
        *(b'{"child": [], "manifest": []}', b'{"child": [], "manifest": {"sha256:": "x"}}'),
    ],
)
async def test_what_is_no_list_is_an_error(google: GoogleRegistry, body: bytes) -> None:
    google.rules.append(Fault(Match(path="/p/tags/list$"), actions.replace_body(body)))
    with pytest.raises(InvalidResponse, match=r"127.0.0.1:\d+ gave"):
        await listed(google, "p")


async def test_tags_come_with_digest_date_and_size(google: GoogleRegistry) -> None:
    async with client_of(google.host) as client:
        listing = ArtifactRegistry(client)
        tags = [tag async for tag in listing.tags("p/r/app")]
        assert [tag async for tag in listing.tags("p/gone")] == []
        google.page = 2
        assert [tag.name async for tag in listing.tags("p/r/app")] == ["v1", "latest", "v2"]
        google.rules.append(Fault(Match(path="/tags/list$"), actions.with_header("Link", '<//e.example/>; rel="next"')))
        with pytest.raises(IncompleteListing, match=r"at another host, e\.example"):
            [tag async for tag in listing.tags("p/r/app")]
    assert tags == [
        ListedTag("v1", DIGEST, WHEN, 4096),
        ListedTag("latest", DIGEST, WHEN, 4096),
        ListedTag("v2", f"sha256:{0:064x}", WHEN, 4096),
    ]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"child": [], "tags": [], "manifest": {"%s": {"tag": ["v1"]}}}' % DIGEST.encode(), IncompleteListing),
        (b'{"child": [], "tags": ["v1"], "manifest": {"sha256:../x": {"tag": ["v1"]}}}', InvalidResponse),
        (b'{"child": [], "tags": ["v1"], "manifest": {"%s": {"tag": "v1"}}}' % DIGEST.encode(), InvalidResponse),
    ],
)
async def test_tags_that_do_not_fit_are_an_error(
    google: GoogleRegistry, body: bytes, error: type[RegistryError]
) -> None:
    fits = Match(path="/p/r/app/tags/list$", predicate=lambda call: call.header("authorization") is not None)
    google.rules.append(Fault(fits, actions.replace_body(body)))
    async with client_of(google.host) as client:
        with pytest.raises(error):
            [tag async for tag in ArtifactRegistry(client).tags("p/r/app")]
