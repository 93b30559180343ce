"""The tags of one repository, page by page (distribution specification, "Listing Tags")."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator

import httpx

from imageferry.registry.client import check_status
from imageferry.registry.errors import ERROR_BODY_LIMIT, InvalidResponse, error_for
from imageferry.registry.http.location import next_link, resolve
from imageferry.registry.redaction import redact
from imageferry.registry.repository_client import RepositoryClient
from imageferry.registry.request import RegistryRequest
from imageferry.text import shorten_repr

# Tags asked for at once where ``PAGE`` is refused, and the registry does not say how many it allows.
SMALL_PAGE = 100

# How registries refuse a number of tags that is too large for them.
_TOO_MANY = frozenset({400, 413, 416, 422})

# The most that a registry allows, as it says it: "must not exceed 500", "maximum: 200".
_MOST = re.compile(r"(?:max|most|exceed|limit|than|up to|<=?)[^0-9]{0,40}+([0-9]{1,9})(?![0-9])", re.IGNORECASE)
_PAGE_LIMIT = 16 * 1024 * 1024

# The most that one repository may list, in tags, pages and bytes: a million tags take some 30 MB.
TAGS_LIMIT = 1_000_000
PAGES_LIMIT = 10_000
LIST_LIMIT = 128 * 1024 * 1024


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
        answer = await self._first_page(action)
        path = answer.request.url.raw_path.decode()
        seen: set[str] = set()
        size = listed = 0
        while path not in seen:
            seen.add(path)
            if len(seen) > PAGES_LIMIT or size > LIST_LIMIT:
                raise InvalidResponse(
                    action, f"{repository.host} lists tags without end ({len(seen) - 1:,} pages so far)"
                )
            if len(seen) > 1:
                answer = await repository.send(RegistryRequest("GET", path, action, limit=_PAGE_LIMIT))
            check_status(answer, action, repository.host, 200)
            size += len(answer.content)
            page = _parse_page(answer, action, repository.host)
            listed += len(page)
            if listed > TAGS_LIMIT:
                advice = "name the tags to copy in the rule"
                raise InvalidResponse(action, f"{repository.host} lists more than {TAGS_LIMIT:,} tags", advice=advice)
            yield page
            following = _next_page(answer, action)
            if following is None:
                return
            path = following

    @property
    def page_size(self) -> int:
        """How many tags are asked for at once, as far as is known of the registry; 0 if it is not told how many."""
        return self._repository.client.tags_page

    async def _first_page(self, action: str) -> httpx.Response:
        """Ask for as many tags at once as the registry allows; what it allows is remembered."""
        repository, asked = self._repository, self.page_size
        answer = refusal = await self._ask(asked, action)
        if not asked or answer.status_code not in _TOO_MANY or _is_unknown(answer, action, repository.host):
            return answer
        for fewer in _fewer(answer, asked):
            answer = await self._ask(fewer, action)
            if answer.status_code == 200:
                repository.client.tags_page = fewer
                return answer
        return refusal

    async def _ask(self, number: int, action: str) -> httpx.Response:
        path = self._repository.path("tags/list") + (f"?n={number}" if number else "")
        return await self._repository.send(RegistryRequest("GET", path, action, limit=_PAGE_LIMIT))


def _is_unknown(answer: httpx.Response, action: str, host: str) -> bool:
    """Whether the repository is refused, not the number of tags."""
    return not {"NAME_UNKNOWN", "NAME_INVALID"}.isdisjoint(error_for(answer, action, host).codes)


def _fewer(answer: httpx.Response, asked: int) -> Iterator[int]:
    """Yield what to ask for where ``asked`` tags at once are refused: the number that the registry names first."""
    named = [int(number) for number in _MOST.findall(answer.text[:ERROR_BODY_LIMIT])]
    most = max((number for number in named if 0 < number < asked), default=0)
    if most:
        yield most
    if (most or asked) > SMALL_PAGE:
        yield SMALL_PAGE
    yield 0


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


def _next_page(answer: httpx.Response, action: str) -> str | None:
    """Return path and query of the next page; its host is dropped, since registries behind a proxy name their own.

    None for an answer that is the last page. Raises ``InvalidResponse`` for an address that is none.
    """
    address = "..."
    try:
        address = next_link(answer.headers)
        if not address:
            return None
        path: str = resolve(answer.request.url, address).raw_path.decode()
        if path.startswith("//"):
            raise httpx.InvalidURL("it begins with the name of a host")
    except httpx.InvalidURL:
        reason = f"the next page is at {shorten_repr(redact(address))}, which is not an address"
        raise InvalidResponse(action, reason) from None
    return path
