"""The repositories of a group or project of GitLab, by its own API: its ``_catalog`` is for administrators alone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

import httpx

from imageferry.listing_api import ListingApi
from imageferry.model import RegistryAccess
from imageferry.registry.client import RegistryClient
from imageferry.registry.http.internal_hosts import bare_host
from imageferry.registry.listings.listing import ListedRepository, NotListable, check_listable, is_below
from imageferry.registry.listings.login import bearer_authorization, login_of
from imageferry.registry.listings.pages import Pages, agree
from imageferry.registry.listings.site import ApiSite
from imageferry.registry.redaction import redact
from imageferry.text import shorten_repr

# Repositories asked for at once: it gives no more.
PAGE = 100

_DENIED = "give a token with read_api as the password for {} in auth"


async def gitlab_url(client: RegistryClient) -> str:
    """Return the address of the GitLab that gives a registry's tokens: its API is there.

    It must be at the registry's host, by whatever port: a registry does not choose where else its user's token is sent.
    Raises ``NotListable`` if it is not, and ``RegistryError``.
    """
    action = f"list repositories of {client.registry}"
    if client.registry == "registry.gitlab.com":
        return "https://gitlab.com"
    for challenge in await client.challenges(action):
        realm, found, _ = challenge.parameters.get("realm", "").rpartition("/jwt/auth")
        if not found:
            continue
        with contextlib.suppress(httpx.InvalidURL):
            if httpx.URL(realm).host == bare_host(client.host).strip("[]"):
                return realm
        advice = f"if {shorten_repr(redact(realm))} is your GitLab, name it: `api_url` of this registry"
        raise NotListable(action, "its GitLab is at another host", advice=advice)
    raise NotListable(action, "it does not say where its GitLab is", advice="name it: `api_url` of this registry")


class GitLab:
    """Lists what is below a group or a project (GitLab's API 4, "Container registry"); its dates are of creation."""

    api: ListingApi = "gitlab"

    def __init__(self, registry: str, site: ApiSite, access: RegistryAccess | None = None) -> None:
        self._registry, self._site, self._access = registry, site, access

    async def repositories(self, prefix: str) -> AsyncIterator[ListedRepository]:
        """Yield each repository at or below the prefix, once: see ``RepositoryListing``."""
        check_listable(self._registry, prefix, self.api)
        action = f"list repositories of {self._registry}/{prefix}"
        authorization = bearer_authorization(login_of(self._access, action))
        denied = _DENIED.format(self._registry)
        pages = Pages(self._site.client, action, authorization=authorization, denied=denied)
        answer = await self._first_page(pages, prefix)
        total: int | None = None
        while True:
            for entry in pages.rows(answer):
                path = pages.text(entry, "path")
                pages.add_once(path)
                if is_below(path, prefix):
                    yield ListedRepository.of(path)
            if (named := answer.headers.get("x-total")) is not None:
                # It names none where there are more than ten thousand.
                total = agree(pages, named, total)
            number = answer.headers.get("x-next-page")
            if number is None:
                raise pages.incomplete("it does not say whether there is a next page (X-Next-Page)")
            if not number:
                break
            answer = await pages.get(str(answer.request.url.copy_set_param("page", number).raw_path, "ascii"))
        if total is not None and total != pages.listed:
            raise pages.incomplete(f"it counts {total:,} entries, but gave {pages.listed:,}")

    async def _first_page(self, pages: Pages, prefix: str) -> httpx.Response:
        """Return the first page of the smallest group or project that the prefix is or lies in."""
        refusal: httpx.Response | None = None
        for kind, path in _owners(prefix):
            place = f"/api/v4/{kind}/{quote(path, safe='')}/registry/repositories"
            answer = await pages.send(f"{self._site.base}{place}?per_page={PAGE}&page=1")
            if answer.status_code != 404:
                return pages.check(answer)
            refusal = refusal or answer
        assert refusal is not None
        return pages.check(refusal)


def _owners(prefix: str) -> Iterator[tuple[str, str]]:
    """Yield what a prefix may be, the longest first; no project is without a group or user."""
    while prefix:
        yield "groups", prefix
        if "/" in prefix:
            yield "projects", prefix
        prefix = prefix.rpartition("/")[0]
