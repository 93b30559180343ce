"""All repositories of a registry by ``_catalog`` (distribution's API; no part of the OCI specification)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx

from imageferry.listing_api import ListingApi
from imageferry.registry.client import RegistryClient
from imageferry.registry.errors import RegistryError, error_for
from imageferry.registry.listings.listing import ListedRepository, is_below
from imageferry.registry.listings.pages import Pages

# Repositories asked for at once, and what is asked for where that is refused; 0: the registry is not told how many.
PAGE_SIZES = (1000, 100, 0)

# How registries refuse a number that is too large for them (docker/distribution 2.8: 400 PAGINATION_NUMBER_INVALID).
_TOO_MANY = frozenset({400, 413, 416, 422})

# Caps of pages are multiples of it: a page of such a length may be the first of several, though fewer were asked for.
_ROUND = 100

CATALOG_SCOPE = ("registry:catalog:*",)

_ADVICE = {
    401: "most registries list all their repositories for an administrator only: give such a login, or name "
    "repositories in the rule",
    404: "it has no _catalog: name repositories in the rule, or say which API it has: `api` in registries",
}
_ADVICE |= {403: _ADVICE[401], 405: _ADVICE[404]}


class Catalog:
    """The repositories of a registry by a catalog at ``path``.

    ``below`` is put before each path: Artifactory has a catalog for each of its repositories.
    """

    def __init__(
        self, client: RegistryClient, path: str = "/v2/_catalog", *, api: ListingApi = "catalog", below: str = ""
    ) -> None:
        self.api: ListingApi = api
        self._client, self._path, self._below = client, path, below

    async def repositories(self, prefix: str) -> AsyncIterator[ListedRepository]:
        """Yield each repository at or below the prefix, once: see ``RepositoryListing``."""
        pages = Pages(self._client, f"list repositories of {self._client.registry}", scopes=CATALOG_SCOPE)
        answer, asked = await self._first_page(pages)
        seen: dict[str, None] = {}
        while True:
            names = _names(pages, answer)
            fresh = [name for name in dict.fromkeys(names) if name not in seen]
            pages.add(len(fresh))
            seen.update(dict.fromkeys(fresh))
            for name in fresh:
                if is_below(path := f"{self._below}{name}", prefix):
                    yield ListedRepository.of(path)
            following = self._following(pages, answer, names, fresh, asked)
            if following is None:
                return
            answer = pages.check(await pages.send(following))

    def _following(
        self, pages: Pages, answer: httpx.Response, names: list[str], fresh: list[str], asked: int
    ) -> str | None:
        """Return the path of the next page; None after the last. Raises ``IncompleteListing``."""
        if (link := pages.next_link(answer, may_name_other_host=True)) is not None:
            return link
        if not names:
            return None
        if not fresh:
            # ``last`` is ignored: all is on each page, unless that is just as long as it was asked to be.
            if len(names) == asked:
                raise pages.incomplete("its pages repeat themselves", "it lists by pages, but gives the first alone")
            return None
        if asked and len(names) < asked and len(names) % _ROUND:
            return None
        return f"{self._path}?{f'n={asked}&' if asked else ''}last={quote(names[-1], safe='')}"

    async def _first_page(self, pages: Pages) -> tuple[httpx.Response, int]:
        """Return the first page, and how many repositories were asked for at once."""
        refusal: httpx.Response | None = None
        for number in PAGE_SIZES:
            answer = await pages.send(self._path + (f"?n={number}" if number else ""))
            if answer.status_code == 200:
                return answer, number
            refusal = refusal or answer
            if answer.status_code not in _TOO_MANY:
                break
        assert refusal is not None
        raise _refused(pages, refusal)


def _names(pages: Pages, answer: httpx.Response) -> list[str]:
    """Return the names on a page; null is none. Raises ``InvalidResponse``."""
    document = pages.mapping(answer)
    names = document.get("repositories", "")
    if names is None:
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise pages.invalid("no list of repositories")
    return names


def _refused(pages: Pages, answer: httpx.Response) -> RegistryError:
    """Return the error of a catalog that is refused, with what to do about it."""
    if answer.status_code < 400:
        pages.check(answer)
    error = error_for(answer, pages.action, pages.client.host)
    advice = _ADVICE.get(answer.status_code, error.advice)
    return type(error)(error.action, error.reason, advice=advice, status=error.status, codes=error.codes)
