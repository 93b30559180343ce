"""The repositories of an Azure container registry: by its catalog, and their tags by its own API."""

from __future__ import annotations

from collections.abc import AsyncIterator

from imageferry.listing_api import ListingApi
from imageferry.registry.client import RegistryClient
from imageferry.registry.errors import NotFound
from imageferry.registry.listings.catalog import Catalog
from imageferry.registry.listings.listing import ListedRepository, ListedTag, read_date
from imageferry.registry.listings.pages import Pages

# Tags asked for at once.
PAGE = 1000


class AzureRegistry:
    """Lists all repositories (Azure's "Container Registry" REST API, ``/acr/v1``); it gives no dates of pushes."""

    api: ListingApi = "acr"

    def __init__(self, client: RegistryClient) -> None:
        self._client = client
        self._catalog = Catalog(client, "/acr/v1/_catalog", api=self.api)

    def repositories(self, prefix: str) -> AsyncIterator[ListedRepository]:
        """Yield each repository at or below the prefix, once: see ``RepositoryListing``."""
        return self._catalog.repositories(prefix)

    async def tags(self, repository: str) -> AsyncIterator[ListedTag]:
        """Yield each tag of a repository: see ``TagListing``."""
        action = f"list tags of {self._client.registry}/{repository}"
        pages = Pages(self._client, action, scopes=(f"repository:{repository}:metadata_read",), noun="tags")
        try:
            answer = await pages.get(f"/acr/v1/{repository}/_tags?n={PAGE}")
        except NotFound:
            return
        seen: set[str] = set()
        while True:
            entries = pages.entries(pages.mapping(answer).get("tags"))
            fresh = [entry for entry in entries if pages.text(entry, "name") not in seen]
            for entry in fresh:
                seen.add(entry["name"])
                pages.add()
                yield ListedTag(
                    entry["name"], pages.digest(entry.get("digest")), read_date(entry.get("lastUpdateTime"))
                )
            following = pages.next_link(answer)
            if following is None:
                if len(entries) >= PAGE:
                    raise pages.incomplete("a full page of tags names no next one")
                return
            answer = await pages.get(following)
