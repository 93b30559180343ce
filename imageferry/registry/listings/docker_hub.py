"""The repositories of one namespace at Docker Hub, by the API of its web site: it has no ``_catalog``."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from imageferry.listing_api import ListingApi
from imageferry.model import RegistryAccess
from imageferry.registry.errors import InvalidResponse, LoginFailed, NotFound, error_for
from imageferry.registry.listings.listing import (
    ListedRepository,
    ListedTag,
    check_listable,
    is_below,
    read_date,
    read_size,
)
from imageferry.registry.listings.login import login_of
from imageferry.registry.listings.pages import Pages, agree
from imageferry.registry.listings.site import ApiSite
from imageferry.registry.redaction import Secrets
from imageferry.registry.request import RegistryRequest

DOCKER_HUB_API = "https://hub.docker.com"

# Entries asked for at once: it gives no more.
PAGE = 100

# Seconds for which a token is used; it lives for ten minutes.
_TOKEN_LIFE = 300.0


class DockerHub:
    """Lists namespaces of Docker Hub: public repositories, and with a login those that it may see.

    ``registry`` is the registry's name, ``site`` where its API is.
    """

    api: ListingApi = "dockerhub"

    def __init__(self, registry: str, site: ApiSite, access: RegistryAccess | None = None) -> None:
        self._registry, self._site, self._access = registry, site, access
        self._secrets = Secrets()
        self._token, self._renew_at = "", 0.0
        self._logging_in = asyncio.Lock()

    async def repositories(self, prefix: str) -> AsyncIterator[ListedRepository]:
        """Yield each repository at or below the prefix, once: see ``RepositoryListing``."""
        check_listable(self._registry, prefix, self.api)
        namespace = prefix.partition("/")[0]
        pages = await self._pages(f"list repositories of {self._registry}/{namespace}", "repositories")
        async for entry in self._results(pages, f"/v2/repositories/{quote(namespace, safe='')}/"):
            path = f"{namespace}/{pages.text(entry, 'name')}"
            if is_below(path, prefix):
                yield ListedRepository.of(path, read_date(entry.get("last_updated")))

    async def tags(self, repository: str) -> AsyncIterator[ListedTag]:
        """Yield each tag of a repository: see ``TagListing``."""
        pages = await self._pages(f"list tags of {self._registry}/{repository}", "tags")
        try:
            async for entry in self._results(pages, f"/v2/repositories/{quote(repository)}/tags"):
                digest, pushed = pages.digest(entry.get("digest")), read_date(entry.get("tag_last_pushed"))
                yield ListedTag(pages.text(entry, "name"), digest, pushed, read_size(entry.get("full_size")))
        except NotFound:
            return

    async def _results(self, pages: Pages, path: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the entries of all pages, each once, of which there must be as many as ``count`` says on each."""
        total: int | None = None
        following: str | None = f"{self._site.base}{path}?page_size={PAGE}"
        while following is not None:
            answer = await pages.get(following)
            document = pages.mapping(answer)
            total = agree(pages, document.get("count"), total)
            for entry in pages.entries(document.get("results")):
                name = pages.text(entry, "name")
                pages.add_once(name)
                yield entry
            address = document.get("next")
            following = pages.next_page(answer, str(address)) if address else None
        if pages.listed != total:
            raise pages.incomplete(f"it counts {total:,} entries, but gave {pages.listed:,}")

    async def _pages(self, action: str, noun: str) -> Pages:
        token = await self._log_in(action)
        denied = f"check that the login for {self._registry} may see it" if token else ""
        authorization = f"Bearer {token}" if token else ""
        return Pages(self._site.client, action, authorization=authorization, noun=noun, denied=denied)

    async def _log_in(self, action: str) -> str:
        """Return a token of the API for the registry's user, empty for nobody. Raises ``LoginFailed``."""
        login = login_of(self._access, action)
        if login is None:
            return ""
        async with self._logging_in:
            if time.monotonic() >= self._renew_at:
                self._token = await self._ask_token(*login)
                self._renew_at = time.monotonic() + _TOKEN_LIFE
        return self._token

    async def _ask_token(self, username: str, password: str) -> str:
        client = self._site.client
        action = f"log in to {client.host}"
        body = json.dumps({"identifier": username, "secret": password}).encode()
        path, headers = f"{self._site.base}/v2/auth/token", {"content-type": "application/json"}
        answer = await client.send(RegistryRequest("POST", path, action, headers, body))
        if answer.status_code != 200:
            error = error_for(answer, action, client.host)
            advice = f"check the username and the password or access token for {self._registry}"
            kind = LoginFailed if answer.status_code in (400, 401, 403) else type(error)
            raise kind(action, error.reason, advice=advice, status=error.status, codes=error.codes)
        try:
            token = json.loads(answer.content)["access_token"]
        except (ValueError, KeyError, TypeError, RecursionError):
            token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
            raise InvalidResponse(action, f"{client.host} gave no token", advice="check `api_url` of this registry")
        self._secrets.add_token(token)
        return token
