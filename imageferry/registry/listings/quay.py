"""The repositories of one namespace at Quay, by its own API: its ``_catalog`` shows each login something else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

from imageferry.listing_api import ListingApi
from imageferry.model import RegistryAccess
from imageferry.registry.client import RegistryClient
from imageferry.registry.errors import LoginFailed, NotFound
from imageferry.registry.listings.listing import (
    ListedRepository,
    ListedTag,
    check_listable,
    is_below,
    read_size,
    read_timestamp,
)
from imageferry.registry.listings.login import bearer_authorization, login_of
from imageferry.registry.listings.pages import Pages

# Tags asked for at once: it gives no more. Repositories come as many as it likes.
PAGE = 100

# The user name with which a password is an OAuth token (Quay's documents, "Applications").
_OAUTH = "$oauthtoken"


class Quay:
    """Lists public repositories, and with an OAuth token of an application those that it may see (Quay's API 1)."""

    api: ListingApi = "quay"

    def __init__(self, client: RegistryClient, access: RegistryAccess | None = None) -> None:
        self._client, self._access = client, access

    async def repositories(self, prefix: str) -> AsyncIterator[ListedRepository]:
        """Yield each repository at or below the prefix, once: see ``RepositoryListing``."""
        check_listable(self._client.registry, prefix, self.api)
        namespace = prefix.partition("/")[0]
        pages = self._pages(f"list repositories of {self._client.registry}/{namespace}", namespace)
        first = f"/api/v1/repository?namespace={quote(namespace, safe='')}&public=true&last_modified=true"
        following: str | None = first
        while following is not None:
            document = pages.mapping(await pages.get(following))
            if "repositories" not in document:
                raise pages.invalid("no list of repositories")
            for entry in pages.entries(document["repositories"]):
                # Of the former registry of applications; there is no image in it.
                if entry.get("kind") == "application":
                    continue
                path = f"{pages.text(entry, 'namespace')}/{pages.text(entry, 'name')}"
                pages.add_once(path)
                if is_below(path, prefix):
                    yield ListedRepository.of(path, read_timestamp(entry.get("last_modified")))
            token = document.get("next_page")
            following = f"{first}&next_page={quote(str(token), safe='')}" if token else None

    async def tags(self, repository: str) -> AsyncIterator[ListedTag]:
        """Yield each tag of a repository: see ``TagListing``."""
        action = f"list tags of {self._client.registry}/{repository}"
        pages = self._pages(action, repository.partition("/")[0], "tags")
        number, more = 1, True
        seen: set[str] = set()
        while more:
            path = f"/api/v1/repository/{quote(repository)}/tag/?limit={PAGE}&onlyActiveTags=true&page={number}"
            try:
                document = pages.mapping(await pages.get(path))
            except NotFound:
                if number > 1:
                    raise
                return
            if "tags" not in document or not isinstance(document.get("has_additional"), bool):
                raise pages.invalid("no list of tags")
            entries = pages.entries(document["tags"])
            for entry in entries:
                name = pages.text(entry, "name")
                # A tag that moved while pages were read comes once more.
                if name in seen:
                    continue
                seen.add(name)
                pages.add()
                pushed = read_timestamp(entry.get("start_ts"))
                yield ListedTag(name, pages.digest(entry.get("manifest_digest")), pushed, read_size(entry.get("size")))
            number, more = number + 1, document["has_additional"]
            if more and not entries:
                raise pages.incomplete("a page before the last has no tags")

    def _pages(self, action: str, namespace: str, noun: str = "repositories") -> Pages:
        login = login_of(self._access, action)
        if login is not None and login[0] != _OAUTH:
            login = None if "+" in login[0] and login[0].partition("+")[0] != namespace else login
            if login is not None:
                advice = (
                    f"give username: $oauthtoken and the token of an application as the password, or for public "
                    f"repositories alone an entry for {self._client.registry}/{namespace} without credentials"
                )
                raise LoginFailed(action, "Quay's API takes neither passwords nor robots", advice=advice)
        return Pages(self._client, action, authorization=bearer_authorization(login), noun=noun)
