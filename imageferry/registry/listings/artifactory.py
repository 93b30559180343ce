"""The repositories of one repository key of Artifactory: each key has a catalog of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

from imageferry.listing_api import ListingApi
from imageferry.registry.client import RegistryClient
from imageferry.registry.listings.catalog import Catalog
from imageferry.registry.listings.listing import ListedRepository, check_listable


class Artifactory:
    """Lists what is below a repository key, the first part of a path (Artifactory's "repository path" method)."""

    api: ListingApi = "artifactory"

    def __init__(self, client: RegistryClient) -> None:
        self._client = client

    async def repositories(self, prefix: str) -> AsyncIterator[ListedRepository]:
        """Yield each repository at or below the prefix, once: see ``RepositoryListing``."""
        check_listable(self._client.registry, prefix, self.api)
        key = prefix.partition("/")[0]
        path = f"/artifactory/api/docker/{quote(key, safe='')}/v2/_catalog"
        async for each in Catalog(self._client, path, api=self.api, below=f"{key}/").repositories(prefix):
            yield each
