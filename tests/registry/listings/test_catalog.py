"""All repositories of a registry by its catalog: the whole of it, or an error."""

from collections.abc import Iterator

import pytest

from imageferry.registry.errors import (
    Forbidden,
    InvalidResponse,
    NotFound,
    RegistryError,
    RequestRejected,
    Unauthorized,
)
from imageferry.registry.listings import pages
from imageferry.registry.listings.catalog import Catalog
from imageferry.registry.listings.listing import IncompleteListing, list_repositories
from testkit.registries import actions
from testkit.registries.catalogs import CatalogRegistry, CatalogWays, Link
from testkit.registries.distribution import Distribution3, DistributionRegistry
from testkit.registries.fault_rules import Fault, Match
from tests.registry.listings.opening import client_of, paths
from tests.registry.opening import access

CATALOG = Match(path="/_catalog$")


@pytest.fixture
def registry() -> Iterator[CatalogRegistry]:
    """A registry of 25 repositories."""
    with CatalogRegistry(CatalogWays(numbered(25))) as running:
        yield running


def numbered(count: int) -> list[object]:
    return [f"team/app{number:04}" for number in range(count)]


async def listed(registry: CatalogRegistry, prefix: str = "") -> list[str]:
    async with client_of(registry.host) as client:
        return await paths(Catalog(client), prefix)


@pytest.mark.parametrize(
    ("kind", "entries", "asked"),
    [
        (DistributionRegistry, 150, ["1000", "100"]),
        # Less than is ever asked for: it is not told how many.
        (DistributionRegistry, 40, ["1000", "100", ""]),
        (DistributionRegistry, None, ["1000"]),
        (Distribution3, 150, ["1000", "100"]),
    ],
)
async def test_a_real_registry_is_listed_whole(
    tmp_path_factory: pytest.TempPathFactory, kind: type[DistributionRegistry], entries: int | None, asked: list[str]
) -> None:
    # Of folders and names that sort apart by path and by text.
    names = {f"team{number % 7}/app{number:03}" for number in range(340)}
    names |= {"a/b", "a-b", "a.b", "a/b/c", "a/b-c/d", "a0", "a_b/c", "z", "zz/z", "team1"}
    with kind(tmp_path_factory.mktemp("catalog"), catalog_entries=entries) as registry:
        for name in names:
            registry.add_repository(name)
        async with client_of(registry.host) as client:
            found = await paths(Catalog(client))
            below = await paths(Catalog(client), "team1")
        requests = [each for each in registry.requests() if each.path == "/v2/_catalog"]
    assert len(found) == len(set(found))
    assert set(found) == names
    assert set(below) == {name for name in names if name == "team1" or name.startswith("team1/")}
    assert [each.query.get("n", [""])[0] for each in requests][: len(asked)] == asked


@pytest.mark.parametrize("link", ["relative", "absolute", "other-host"])
async def test_pages_follow_each_other(registry: CatalogRegistry, link: Link) -> None:
    registry.ways.cap, registry.ways.link = 10, link
    assert await listed(registry) == numbered(25)
    # None at the host that the Link names: behind a proxy it is often the registry's inner one.
    assert [query.get("last") for query in registry.listings] == [None, "team/app0009", "team/app0019"]


@pytest.mark.parametrize(
    ("most", "asked"),
    [
        (100, [("1000", None), ("100", None), ("100", "team/app0099"), ("100", "team/app0199")]),
        # Where it is not told how many, any page may be full.
        (90, [("1000", None), ("100", None), *((None, f"team/app{last:04}") for last in (89, 179, 204))]),
    ],
)
async def test_a_full_page_without_a_link_is_followed_by_the_last_name(
    most: int, asked: list[tuple[str | None, str | None]]
) -> None:
    with CatalogRegistry(CatalogWays(numbered(205), most=most, link="none")) as registry:
        assert await listed(registry) == numbered(205)
        requests = [(query.get("n"), query.get("last")) for query in registry.listings]
        assert [each for each in requests if each != (None, None)] == asked


async def test_a_page_of_a_round_length_may_be_the_first_of_several() -> None:
    with CatalogRegistry(CatalogWays(numbered(250), cap=200, link="none")) as registry:
        assert len(await listed(registry)) == 250
        assert [query.get("last") for query in registry.listings] == [None, "team/app0199"]


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (25, 1), (100, 2), (1000, 2), (1200, 2)])
async def test_a_registry_without_pages_is_listed_in_one(count: int, requests: int) -> None:
    with CatalogRegistry(CatalogWays(numbered(count), link="none", ignores_n=True)) as registry:
        registry.ways.ignores_last = count != 1000
        assert await listed(registry) == numbered(count)
        assert len(registry.listings) == requests


async def test_a_registry_that_gives_its_first_page_again_is_not_listed_in_part() -> None:
    expected = pytest.raises(
        IncompleteListing, match=r"127.0.0.1:\d+ gave no whole list: its pages repeat themselves; it lists by pages"
    )
    with CatalogRegistry(CatalogWays(numbered(1500), link="none", ignores_last=True)) as registry, expected:
        await listed(registry)


async def test_pages_that_lead_in_a_circle_are_an_error() -> None:
    with CatalogRegistry(CatalogWays(numbered(25), cap=10, link="loop")) as registry:
        with pytest.raises(IncompleteListing, match="its pages lead in a circle"):
            await listed(registry)
        assert len(registry.listings) == 2


async def test_a_next_page_at_another_host_is_an_error() -> None:
    expected = pytest.raises(IncompleteListing, match=r"at another host, localhost:\d+, and is not read there")
    with CatalogRegistry() as other:
        elsewhere = other.host.replace("127.0.0.1", "localhost")
        ways = CatalogWays(numbered(25), cap=10, link="other-path", other_host=elsewhere)
        with CatalogRegistry(ways) as registry, expected:
            await listed(registry)
        assert len(other.log) == 0


async def test_a_catalog_elsewhere_is_one_for_nobody(registry: CatalogRegistry) -> None:
    with CatalogRegistry(CatalogWays(numbered(1))) as other:
        registry.rules.append(Fault(CATALOG, actions.redirect(other.url.replace("127.0.0.1", "localhost"))))
        assert await listed(registry) == numbered(1)
        async with client_of(registry.host, access("ferry", "secret-of-catalog")) as client:
            with pytest.raises(IncompleteListing, match=r"localhost:\d+, to which it leads, is not sent the login"):
                await paths(Catalog(client))


async def test_a_token_for_the_catalog_is_asked_for() -> None:
    with CatalogRegistry(CatalogWays(numbered(3), bearer=True)) as registry:
        assert await listed(registry) == numbered(3)
        assert [entry.query["scope"] for entry in registry.log.entries("token")] == [["registry:catalog:*"]]


@pytest.mark.parametrize("body", [b'{"repositories": null}', b'{"repositories": []}'])
async def test_a_registry_without_repositories(registry: CatalogRegistry, body: bytes) -> None:
    registry.rules.append(Fault(CATALOG, actions.replace_body(body)))
    assert await listed(registry) == []


async def test_names_that_are_none_are_listed_with_their_problem(registry: CatalogRegistry) -> None:
    odd = ["team/App", "team/../etc", "team/a\x1b[2Jb", "", "team//x", "team/" + "x" * 300, "team/ok\n"]
    registry.ways.names = ["team/good", *odd]
    async with client_of(registry.host) as client:
        found = await list_repositories(Catalog(client))
        below = await list_repositories(Catalog(client), "team")
    assert [(each.path, bool(each.problem)) for each in found] == [
        ("team/good", False),
        *((name, True) for name in odd),
    ]
    assert [each.path for each in below] == ["team/good", *(name for name in odd if name)]
    assert found[1].problem.startswith("'team/App' is not a repository (upper case is not allowed)")
    assert all("\x1b" not in each.problem and "\n" not in each.problem for each in found)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b"[]", b"{}", b'{"repositories": {}}', b'{"repositories": "a"}', b'{"repositories": [1]}'),
        *(b'{"repositories": ["a", null]}', b"[" * 100_000, b'{"errors": []}'),
    ],
)
async def test_what_is_no_catalog_is_an_error(registry: CatalogRegistry, body: bytes) -> None:
    registry.rules.append(Fault(CATALOG, actions.replace_body(body)))
    with pytest.raises(InvalidResponse, match=r"cannot list repositories of 127.0.0.1:\d+: 127.0.0.1:\d+ gave"):
        await listed(registry)


@pytest.mark.parametrize(
    ("status", "kind", "advice", "requests"),
    [
        (401, Unauthorized, "for an administrator only", 1),
        (403, Forbidden, "for an administrator only", 1),
        (404, NotFound, "it has no _catalog: name repositories in the rule, or say which API", 1),
        (405, RequestRejected, "it has no _catalog", 1),
        (400, RequestRejected, "no lists here", 3),
    ],
)
async def test_a_catalog_that_is_refused(
    registry: CatalogRegistry, status: int, kind: type[RegistryError], advice: str, requests: int
) -> None:
    registry.rules.append(Fault(CATALOG, actions.refuse(status, "UNSUPPORTED", "no lists here")))
    with pytest.raises(kind, match=advice) as refused:
        await listed(registry)
    assert refused.value.status == status
    assert "no lists here" in str(refused.value)
    assert len(registry.listings) == requests


@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_a_page_that_is_missing_is_an_error(registry: CatalogRegistry, status: int) -> None:
    registry.ways.cap = 10
    registry.rules.append(Fault(CATALOG, actions.refuse(status, "DENIED"), skip=1))
    with pytest.raises(RegistryError) as refused:
        await listed(registry)
    assert refused.value.status == status


async def test_more_than_is_read_is_an_error(registry: CatalogRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "REPOSITORIES_LIMIT", 24)
    with pytest.raises(IncompleteListing, match="more than 24 repositories; name fewer repositories in the rule"):
        await listed(registry)
    monkeypatch.setattr(pages, "REPOSITORIES_LIMIT", 25)
    assert len(await listed(registry)) == 25
    registry.ways.cap = 5
    monkeypatch.setattr(pages, "PAGES_LIMIT", 4)
    with pytest.raises(IncompleteListing, match=r"without end \(4 pages so far\)"):
        await listed(registry)
    monkeypatch.setattr(pages, "PAGES_LIMIT", 5)
    monkeypatch.setattr(pages, "LIST_LIMIT", 200)
    with pytest.raises(IncompleteListing, match="without end"):
        await listed(registry)
    monkeypatch.setattr(pages, "PAGE_LIMIT", 50)
    with pytest.raises(InvalidResponse, match="more than 50 bytes"):
        await listed(registry)
