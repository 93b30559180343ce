"""The repositories of an AWS account, with botocore as it is against Amazon's API over HTTP."""

import builtins
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from imageferry.registry.errors import RegistryError
from imageferry.registry.listings import amazon_ecr
from imageferry.registry.listings.amazon_ecr import AmazonEcr
from imageferry.registry.listings.find import find_listing
from imageferry.registry.listings.listing import IncompleteListing, ListedTag, list_repositories
from testkit.registries import actions
from testkit.registries.amazon import ACCOUNT, DIGEST, AmazonApi
from testkit.registries.fault_rules import Fault
from tests.registry.listings.opening import client_of, paths

HOST = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch) -> Iterator[AmazonApi]:
    """An account of 25 repositories, ten of which come at once."""
    names = [f"team/app{number:02}" for number in range(24)] + ["other"]
    with AmazonApi({name: [["v1", "latest"], [], ["v2"]] for name in names}, cap=10) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", running.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield running


async def test_all_pages_are_read(amazon: AmazonApi) -> None:
    async with client_of(HOST) as client, find_listing(client) as listing:
        assert await paths(listing) == list(amazon.repositories)
        assert len(await paths(listing, "team")) == 24
        found = await list_repositories(listing, "other")
    assert [(each.path, each.pushed) for each in found] == [("other", None)]
    assert amazon.asked[:3] == [
        ("DescribeRepositories", {"registryId": ACCOUNT, "maxResults": 1000}),
        ("DescribeRepositories", {"registryId": ACCOUNT, "maxResults": 1000, "nextToken": "10"}),
        ("DescribeRepositories", {"registryId": ACCOUNT, "maxResults": 1000, "nextToken": "20"}),
    ]


async def test_tags_come_with_digest_date_and_size(amazon: AmazonApi) -> None:
    amazon.cap = 1
    listing = AmazonEcr(HOST)
    when = datetime(2024, 5, 6, 7, 8, 9, 500000, UTC)
    assert [tag async for tag in listing.tags("other")] == [
        ListedTag(name, DIGEST, when, 4096) for name in ("v1", "latest", "v2")
    ]
    assert [tag async for tag in listing.tags("gone")] == []


async def test_pages_that_lead_in_a_circle_are_an_error(amazon: AmazonApi) -> None:
    amazon.loops = True
    with pytest.raises(IncompleteListing, match="the pages of Amazon's API lead in a circle"):
        await paths(AmazonEcr(HOST))
    assert len(amazon.asked) == 2


async def test_more_than_is_read_is_an_error(amazon: AmazonApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amazon_ecr, "REPOSITORIES_LIMIT", 24)
    with pytest.raises(IncompleteListing, match="Amazon's API lists more than 24 entries"):
        await paths(AmazonEcr(HOST))


async def test_a_page_that_is_refused_is_an_error(amazon: AmazonApi) -> None:
    denied = b'{"__type": "AccessDeniedException", "message": "not allowed"}'
    amazon.rules.append(Fault(None, actions.respond(400, denied), skip=1))
    words = "answered AccessDeniedException: not allowed; the AWS credentials must allow ecr:DescribeRepositories"
    with pytest.raises(RegistryError, match=words):
        await paths(AmazonEcr(HOST))


async def test_an_answer_without_a_list_is_an_error(amazon: AmazonApi) -> None:
    amazon.rules.append(Fault(None, actions.respond(200, b"{}"), skip=1))
    with pytest.raises(IncompleteListing, match="Amazon's API answered without repositories"):
        await paths(AmazonEcr(HOST))


async def test_no_credentials_are_an_error(amazon: AmazonApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(RegistryError, match="AWS credentials are looked for in the environment"):
        await paths(AmazonEcr(HOST))
    assert amazon.asked == []


async def test_another_host_is_none_of_amazons(amazon: AmazonApi) -> None:
    with pytest.raises(RegistryError, match="it is no registry of Amazon ECR; its host is as 123456789012"):
        await paths(AmazonEcr("registry.example"))
    assert amazon.asked == []


async def test_without_botocore_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.startswith("botocore"):
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RegistryError, match=r"needs botocore, which is not installed; install imageferry\[ecr\]"):
        await paths(AmazonEcr(HOST))
