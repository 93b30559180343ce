"""The tags of one repository, page by page (distribution specification, "Listing Tags")."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import httpx

from imageferry.registry.client import check_status
from imageferry.registry.errors import InvalidResponse
from imageferry.registry.repository_client import RepositoryClient
from imageferry.registry.request import RegistryRequest
from imageferry.text import shorten_repr

# Tags asked for at once: ECR allows no more. Some registries answer with pages of their own size.
PAGE = 1000
_PAGE_LIMIT = 16 * 1024 * 1024

# The most that one repository may list, in tags, pages and bytes: a million tags take some 30 MB.
TAGS_LIMIT = 1_000_000
PAGES_LIMIT = 10_000
LIST_LIMIT = 128 * 1024 * 1024

# How much of a Link header is parsed, in characters.
_LINK_LIMIT = 8192
_LINK_NEXT = re.compile(r"<([^>]*)>\s*;[^,]*\brel=\"?next\"?", re.IGNORECASE)


class Tags:
    """The tags of one repository."""

    def __init__(self, repository: RepositoryClient) -> None:
        self._repository = repository

    async def all(self) -> list[str]:
        """Return every tag, each once, in the registry's order. Raises ``RegistryError``."""
        tags: dict[str, None] = {}
        async for page in self.pages():
            tags.update(dict.fromkeys(page))
        return [*tags]

    async def pages(self) -> AsyncIterator[list[str]]:
        """Yield the tags a page at a time, until there is no next page or one that was read already.

        Raises ``RegistryError``.
        """
        repository = self._repository
        action = f"list tags of {repository.name}"
        url = httpx.URL(repository.path("tags/list"), params={"n": PAGE})
        seen: set[str] = set()
        size = listed = 0
        while str(url) not in seen:
            seen.add(str(url))
            if len(seen) > PAGES_LIMIT or size > LIST_LIMIT:
                raise InvalidResponse(
                    action, f"{repository.host} lists tags without end ({len(seen) - 1:,} pages so far)"
                )
            answer = await repository.send(RegistryRequest("GET", url, action, limit=_PAGE_LIMIT))
            check_status(answer, action, repository.host, 200)
            size += len(answer.content)
            page = _parse_page(answer, action, repository.host)
            listed += len(page)
            if listed > TAGS_LIMIT:
                advice = "name the tags to copy in the rule"
                raise InvalidResponse(action, f"{repository.host} lists more than {TAGS_LIMIT:,} tags", advice=advice)
            yield page
            following = _next_page(answer.headers, url, action)
            if following is None:
                return
            url = following


def _parse_page(answer: httpx.Response, action: str, host: str) -> list[str]:
    try:
        tags = json.loads(answer.content)["tags"]
    except (ValueError, KeyError, TypeError, RecursionError):
        tags = ""
    # Harbor and docker/distribution answer null for a repository that lost its last tag.
    if tags is None:
        return []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise InvalidResponse(action, f"{host} gave no list of tags", advice="check that a registry is served there")
    return tags


def _next_page(headers: httpx.Headers, url: httpx.URL, action: str) -> httpx.URL | None:
    """Return path and query of the next page; its host is dropped, since registries behind a proxy name their own."""
    found = _LINK_NEXT.search(headers.get("link", "")[:_LINK_LIMIT])
    if found is None:
        return None
    try:
        link = url.join(found[1])
        return httpx.URL(path=link.path, query=link.query)
    except httpx.InvalidURL:
        raise InvalidResponse(
            action, f"the next page is at {shorten_repr(found[1])}, which is not an address"
        ) from None
