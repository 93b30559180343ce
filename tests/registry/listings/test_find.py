"""Which API a registry is listed by: the one that is named, that its host tells, or that its challenge shows."""

import pytest

from imageferry.listing_api import LISTING_APIS, ListingApi
from imageferry.registry.errors import RegistryError, Unavailable
from imageferry.registry.http.challenge import Challenge, parse_challenges
from imageferry.registry.listings.find import ListingSettings, api_of_challenges, find_listing
from imageferry.registry.listings.listing import NotListable, TagListing
from testkit.registries import actions
from testkit.registries.auth import Basic, Bearer
from testkit.registries.catalogs import CatalogRegistry
from testkit.registries.fault_rules import Fault
from testkit.registries.harbor import HarborApi
from testkit.registries.inprocess import FakeRegistry
from tests.registry.listings.opening import client_of, paths
from tests.registry.opening import access


async def found(host: str, settings: ListingSettings | None = None) -> str:
    async with client_of(host) as client, find_listing(client, access(), settings) as listing:
        return listing.api


@pytest.mark.parametrize(
    ("header", "api"),
    [
        ('Bearer realm="https://harbor.example/service/token",service="harbor-registry"', "harbor"),
        ('Basic realm="x", Bearer realm="https://h.example/service/token",service="harbor-registry"', "harbor"),
        ('Bearer realm="https://gitlab.example/jwt/auth",service="container_registry"', "gitlab"),
        ('Bearer realm="https://auth.example/token",service="registry"', "catalog"),
        ('Basic realm="Registry"', "catalog"),
    ],
)
def test_a_challenge_shows_the_api(header: str, api: str) -> None:
    assert api_of_challenges(parse_challenges([header])) == api
    assert api_of_challenges([Challenge("bearer", {})]) == "catalog"


async def test_a_harbor_is_found_out_with_one_request() -> None:
    with HarborApi({"team": ["app"]}) as harbor:
        async with client_of(harbor.host) as client, find_listing(client) as listing:
            assert (listing.api, isinstance(listing, TagListing)) == ("harbor", True)
            assert await paths(listing, "team") == ["team/app"]
        assert [entry.path for entry in harbor.log] == ["/v2/", "/api/v2.0/projects/team/repositories"]


@pytest.mark.parametrize("auth", [None, Basic({}), Bearer(), Bearer(silent=True)])
async def test_another_registry_has_a_catalog(auth: Basic | Bearer | None) -> None:
    with FakeRegistry(auth=auth) as registry:
        assert await found(registry.host) == "catalog"


@pytest.mark.parametrize("api", [api for api in LISTING_APIS if api != "none"])
async def test_every_api_that_can_be_named_is_there(api: ListingApi) -> None:
    with HarborApi() as host:
        settings = ListingSettings(api, host.url, insecure_hosts=frozenset({"127.0.0.1"}))
        assert await found(host.host, settings) == api


async def test_what_is_named_counts() -> None:
    with HarborApi() as harbor:
        assert await found(harbor.host, ListingSettings("catalog")) == "catalog"
        assert len(harbor.log) == 0
    with CatalogRegistry() as registry:
        assert await found(registry.host, ListingSettings("harbor")) == "harbor"


async def test_a_registry_that_is_not_to_be_listed_is_not_asked() -> None:
    with CatalogRegistry() as registry:
        with pytest.raises(NotListable, match=r"127.0.0.1:\d+ is not to be listed \(api: none\): name repositories"):
            await found(registry.host, ListingSettings("none"))
        assert len(registry.log) == 0


@pytest.mark.parametrize(
    ("registry", "words"),
    [
        ("public.ecr.aws", "cannot list repositories of public.ecr.aws: Amazon ECR Public gives no list"),
        ("registry.cn-beijing.aliyuncs.com", "listing Alibaba Cloud's registries is not supported: name repositories"),
    ],
)
async def test_a_host_that_cannot_be_listed_is_not_asked(registry: str, words: str) -> None:
    # Without `insecure`, so that nothing is probed.
    with pytest.raises(NotListable, match=words):
        await found(registry)


async def test_a_registry_that_is_down_is_not_taken_for_another() -> None:
    with HarborApi() as harbor:
        harbor.rules.append(Fault("ping", actions.respond(503)))
        async with client_of(harbor.host, access(insecure=False)) as client:
            with pytest.raises(RegistryError):
                await client.challenges("list repositories")
        async with client_of(harbor.host) as client:
            await client.origin("list repositories")
            with pytest.raises(Unavailable):
                await client.challenges("list repositories")


@pytest.mark.parametrize("url", ["gitlab.example", "https://", "ftp://a.example", "https://u:p@a.example", "http://["])
async def test_an_address_of_an_api_that_is_none(url: str) -> None:
    expected = pytest.raises(NotListable, match=r"is not an address as https://gitlab\.example")
    with CatalogRegistry() as registry, expected as refused:
        await found(registry.host, ListingSettings("dockerhub", url))
    assert ":p@" not in str(refused.value)


async def test_an_api_without_tls_gets_no_login() -> None:
    expected = pytest.raises(NotListable, match=r"hub\.example would get the credentials without TLS; write https://")
    with CatalogRegistry() as registry, expected:
        await found(registry.host, ListingSettings("dockerhub", "http://hub.example"))
