"""The repositories of a Harbor: by its own API, which gives each user what they may see (``_catalog`` does not)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from imageferry.listing_api import ListingApi
from imageferry.model import RegistryAccess
from imageferry.registry.client import RegistryClient
from imageferry.registry.errors import NotFound
from imageferry.registry.listings.listing import ListedRepository, ListedTag, is_below, read_date, read_size
from imageferry.registry.listings.login import basic_authorization, login_of
from imageferry.registry.listings.pages import Pages, agree

# Entries asked for at once: its API gives no more.
PAGE = 100


class Harbor:
    """Lists the projects of a Harbor, and what is in them (Harbor's API 2.0).

    Its date of a repository is not that of a push, so none is given.
    """

    api: ListingApi = "harbor"

    def __init__(self, client: RegistryClient, access: RegistryAccess | None = None) -> None:
        self._client, self._access = client, access

    async def repositories(self, prefix: str) -> AsyncIterator[ListedRepository]:
        """Yield each repository at or below the prefix, once: see ``RepositoryListing``."""
        pages = self._pages(f"list repositories of {self._client.registry}", "repositories")
        project = prefix.partition("/")[0]
        projects = [project] if project else await self._projects(pages)
        for each in projects:
            try:
                async for entry in _numbered(pages, f"/api/v2.0/projects/{quote(each, safe='')}/repositories?"):
                    path = pages.text(entry, "name")
                    pages.add_once(path)
                    if is_below(path, prefix):
                        yield ListedRepository.of(path)
            except NotFound:
                # A project that was deleted since it was listed.
                if project:
                    raise

    async def tags(self, repository: str) -> AsyncIterator[ListedTag]:
        """Yield each tag of a repository: see ``TagListing``."""
        pages = self._pages(f"list tags of {self._client.registry}/{repository}", "tags")
        project, _, name = repository.partition("/")
        # Its proxy decodes a path once before it is routed.
        encoded = quote(quote(name, safe=""), safe="")
        path = f"/api/v2.0/projects/{quote(project, safe='')}/repositories/{encoded}/artifacts?with_tag=true&"
        try:
            async for entry in _numbered(pages, path):
                digest, size = pages.digest(entry.get("digest")), read_size(entry.get("size"))
                for tag in pages.entries(entry.get("tags")):
                    pages.add()
                    yield ListedTag(pages.text(tag, "name"), digest, read_date(tag.get("push_time")), size)
        except NotFound:
            return

    async def _projects(self, pages: Pages) -> list[str]:
        names = [pages.text(entry, "name") async for entry in _numbered(pages, "/api/v2.0/projects?")]
        if len(set(names)) != len(names):
            raise pages.incomplete("it lists a project twice", "run again: its pages moved meanwhile")
        return names

    def _pages(self, action: str, noun: str) -> Pages:
        authorization = basic_authorization(login_of(self._access, action))
        return Pages(self._client, action, authorization=authorization, noun=noun)


async def _numbered(pages: Pages, path: str) -> AsyncIterator[dict[str, Any]]:
    """Yield the entries of all pages, of which there must be as many as ``X-Total-Count`` says on each."""
    total: int | None = None
    read, number = 0, 1
    while total is None or read < total:
        answer = await pages.get(f"{path}page_size={PAGE}&page={number}")
        entries = pages.rows(answer)
        total = agree(pages, answer.headers.get("x-total-count"), total)
        read += len(entries)
        for entry in entries:
            yield entry
        if not entries:
            break
        number += 1
    if read != total:
        raise pages.incomplete(f"it counts {total:,} entries, but gave {read:,}")
