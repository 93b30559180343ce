"""Artifactory: a catalog for each repository key."""

import pytest

from imageferry.registry.listings.find import ListingSettings, find_listing
from imageferry.registry.listings.listing import NotListable
from testkit.registries.catalogs import CatalogRegistry, CatalogWays
from tests.registry.listings.opening import client_of, paths


async def test_the_catalog_of_a_key_is_listed() -> None:
    path = "/artifactory/api/docker/docker-local/v2/_catalog"
    with CatalogRegistry(CatalogWays(["a/app", "b"], cap=1), path) as registry:
        settings = ListingSettings("artifactory")
        async with client_of(registry.host) as client, find_listing(client, None, settings) as listing:
            assert await paths(listing, "docker-local") == ["docker-local/a/app", "docker-local/b"]
            assert await paths(listing, "docker-local/a") == ["docker-local/a/app"]
            with pytest.raises(NotListable, match="Artifactory cannot be listed as a whole: name a repository key"):
                await paths(listing)
