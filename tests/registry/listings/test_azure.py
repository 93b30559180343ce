"""An Azure container registry: its catalog, and tags with digest and date."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from imageferry.registry.listings import azure as module
from imageferry.registry.listings.azure import AzureRegistry
from imageferry.registry.listings.find import ListingSettings, find_listing
from imageferry.registry.listings.listing import IncompleteListing, ListedTag
from testkit.registries.azure import DIGEST, AzureApi
from tests.registry.listings.opening import client_of, paths


@pytest.fixture
def azure() -> Iterator[AzureApi]:
    """Two repositories, one with tags of three pages."""
    with AzureApi({"team/app": [f"v{number:03}" for number in range(250)], "team/empty": []}) as running:
        yield running


async def test_repositories_and_tags_are_listed(azure: AzureApi) -> None:
    async with client_of(azure.host) as client, find_listing(client, None, ListingSettings("acr")) as listing:
        assert isinstance(listing, AzureRegistry)
        assert await paths(listing, "team") == ["team/app", "team/empty"]
        tags = [tag async for tag in listing.tags("team/app")]
        assert [tag async for tag in listing.tags("team/empty")] == []
        assert [tag async for tag in listing.tags("team/gone")] == []
    when = datetime(2024, 5, 6, 7, 8, 9, 123456, UTC)
    assert tags == [ListedTag(f"v{number:03}", DIGEST, when) for number in range(250)]


async def test_a_full_page_of_tags_that_names_no_next_one_is_an_error(
    azure: AzureApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure.links = False
    monkeypatch.setattr(module, "PAGE", 100)
    async with client_of(azure.host) as client:
        with pytest.raises(IncompleteListing, match="a full page of tags names no next one"):
            [tag async for tag in AzureRegistry(client).tags("team/app")]
