"""The images of an organization or user at GitHub's registry, by GitHub's API for packages: it has no ``_catalog``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx

from imageferry.listing_api import ListingApi
from imageferry.model import RegistryAccess
from imageferry.registry.errors import LoginFailed, NotFound
from imageferry.registry.listings.listing import ListedRepository, ListedTag, check_listable, is_below, read_date
from imageferry.registry.listings.login import bearer_authorization, login_of
from imageferry.registry.listings.pages import Pages
from imageferry.registry.listings.site import ApiSite

GITHUB_API = "https://api.github.com"

# Entries asked for at once: it gives no more.
PAGE = 100

_TOKEN = "give a personal access token (classic) with read:packages as the password for {} in auth"  # noqa: S105


class GitHub:
    """Lists what a token may see (GitHub's REST API, "Packages"); for nobody it lists nothing.

    ``registry`` is the registry's name, ``site`` where the API is.
    """

    api: ListingApi = "ghcr"

    def __init__(self, registry: str, site: ApiSite, access: RegistryAccess | None = None) -> None:
        self._registry, self._site, self._access = registry, site, access
        # Whether an owner is an organization or a user, once it is known.
        self._kinds: dict[str, str] = {}

    async def repositories(self, prefix: str) -> AsyncIterator[ListedRepository]:
        """Yield each repository at or below the prefix, once: see ``RepositoryListing``."""
        check_listable(self._registry, prefix, self.api)
        owner = prefix.partition("/")[0]
        pages = self._pages(f"list repositories of {self._registry}/{owner}", "repositories")
        async for entry in self._owned(pages, owner, f"packages?package_type=container&per_page={PAGE}"):
            # Names of owners may have capitals, which no repository has.
            path = f"{owner}/{pages.text(entry, 'name')}"
            pages.add_once(path)
            if is_below(path, prefix):
                yield ListedRepository.of(path, read_date(entry.get("updated_at")))

    async def tags(self, repository: str) -> AsyncIterator[ListedTag]:
        """Yield each tag of a repository: see ``TagListing``."""
        owner, _, name = repository.partition("/")
        pages = self._pages(f"list tags of {self._registry}/{repository}", "tags")
        path = f"packages/container/{quote(name, safe='')}/versions?per_page={PAGE}"
        try:
            async for version in self._owned(pages, owner, path):
                digest, date = pages.digest(version.get("name")), read_date(version.get("updated_at"))
                metadata = version.get("metadata")
                container = metadata.get("container") if isinstance(metadata, dict) else None
                tags = container.get("tags") if isinstance(container, dict) else None
                if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
                    raise pages.invalid("a version without a list of tags")
                pages.add(len(tags))
                for tag in tags:
                    yield ListedTag(tag, digest, date)
        except NotFound:
            return

    async def _owned(self, pages: Pages, owner: str, path: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the entries of all pages of what an organization or else a user has."""
        answer = await self._first_page(pages, owner, path)
        while True:
            for entry in pages.rows(answer):
                yield entry
            following = pages.next_link(answer)
            if following is None:
                return
            answer = await pages.get(following)

    async def _first_page(self, pages: Pages, owner: str, path: str) -> httpx.Response:
        known = self._kinds.get(owner)
        for kind in [known] if known else ["orgs", "users"]:
            answer = await pages.send(f"{self._site.base}/{kind}/{quote(owner, safe='')}/{path}")
            if answer.status_code == 200:
                self._kinds[owner] = kind
            if answer.status_code != 404:
                break
        return pages.check(answer)

    def _pages(self, action: str, noun: str) -> Pages:
        login, advice = login_of(self._access, action), _TOKEN.format(self._registry)
        if login is None:
            raise LoginFailed(action, "GitHub's API lists nothing without a token", advice=advice)
        return Pages(
            self._site.client,
            action,
            authorization=bearer_authorization(login),
            accept="application/vnd.github+json",
            noun=noun,
            denied=advice,
        )
