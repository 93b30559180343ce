"""The pages of one listing: bounded in number and bytes, each asked for once, and never at another host."""

from __future__ import annotations

import json
from typing import Any

import httpx

from imageferry.errors import InvalidReference
from imageferry.reference import check_digest
from imageferry.registry.client import RegistryClient, check_status
from imageferry.registry.errors import InvalidResponse, error_for
from imageferry.registry.http.internal_hosts import bare_host
from imageferry.registry.http.location import next_link, resolve
from imageferry.registry.listings.listing import IncompleteListing
from imageferry.registry.redaction import redact
from imageferry.registry.request import RegistryRequest
from imageferry.text import shorten_repr

# The most that one page may have, in bytes.
PAGE_LIMIT = 16 * 1024 * 1024

# The most that one listing may have, in entries, pages and bytes.
REPOSITORIES_LIMIT = 10_000
TAGS_LIMIT = 1_000_000
PAGES_LIMIT = 10_000
LIST_LIMIT = 128 * 1024 * 1024


class Pages:
    """The requests of one listing, and how much was listed.

    ``action`` is what they are for, as an error says it. ``authorization`` is a header that the client does not add by
    itself; ``scopes`` are what a registry's token must be good for. ``noun`` is what is listed, "repositories" or
    "tags"; ``denied`` is the advice where that is refused (401, 403).
    """

    def __init__(
        self,
        client: RegistryClient,
        action: str,
        *,
        authorization: str = "",
        scopes: tuple[str, ...] = (),
        accept: str = "application/json",
        noun: str = "repositories",
        denied: str = "",
    ) -> None:
        self.client, self.action = client, action
        self._headers = {"accept": accept} | ({"authorization": authorization} if authorization else {})
        self._scopes = scopes
        self._noun, self._denied = noun, denied
        self._most = TAGS_LIMIT if noun == "tags" else REPOSITORIES_LIMIT
        self._asked: set[str] = set()
        self._size = self._listed = 0
        self._names: set[str] = set()

    async def send(self, path: str, scopes: tuple[str, ...] | None = None) -> httpx.Response:
        """Return the answer to a GET, whatever its status.

        Raises ``IncompleteListing`` for a page that was asked for already, for too much, and for the answer of another
        host, which was sent no login and may show nobody less; ``RegistryError``.
        """
        if path in self._asked:
            raise self.incomplete("its pages lead in a circle")
        self._asked.add(path)
        if len(self._asked) > PAGES_LIMIT or self._size > LIST_LIMIT:
            raise self.incomplete(f"it lists {self._noun} without end ({len(self._asked) - 1:,} pages so far)")
        request = RegistryRequest("GET", path, self.action, self._headers, limit=PAGE_LIMIT)
        answer = await self.client.send(request, self._scopes if scopes is None else scopes)
        self._size += len(answer.content)
        came_from = answer.request.url
        has_login = self.client.has_credentials or "authorization" in self._headers
        if has_login and answer.is_success and came_from.host != bare_host(self.client.host).strip("[]"):
            raise self.incomplete(f"{came_from.netloc.decode()}, to which it leads, is not sent the login")
        return answer

    async def get(self, path: str, scopes: tuple[str, ...] | None = None) -> httpx.Response:
        """Return the answer to a GET that has a page: see ``send``. Raises what another status than 200 means."""
        return self.check(await self.send(path, scopes))

    def check(self, answer: httpx.Response) -> httpx.Response:
        """Return an answer if its status is 200, else raise what it means."""
        if self._denied and answer.status_code in (401, 403):
            error = error_for(answer, self.action, self.client.host)
            raise type(error)(self.action, error.reason, advice=self._denied, status=error.status, codes=error.codes)
        return check_status(answer, self.action, self.client.host, 200)

    @property
    def listed(self) -> int:
        """How many were counted so far."""
        return self._listed

    def add(self, number: int = 1) -> None:
        """Count what was listed. Raises ``IncompleteListing`` for more than is read."""
        self._listed += number
        if self._listed > self._most:
            advice = f"name fewer {self._noun} in the rule, as by a longer part before the first *"
            raise self.incomplete(f"it lists more than {self._most:,} {self._noun}", advice)

    def add_once(self, name: str) -> None:
        """Count one that was listed. Raises ``IncompleteListing`` for one that is listed twice, as ``add`` does too."""
        if name in self._names:
            raise self.incomplete(f"it lists {name} twice", "run again: its pages moved meanwhile")
        self._names.add(name)
        self.add()

    def incomplete(self, reason: str, advice: str = "") -> IncompleteListing:
        """Return the error for a listing of which something may be missing."""
        return IncompleteListing(self.action, f"{self.client.host} gave no whole list: {reason}", advice=advice)

    def invalid(self, what: str) -> InvalidResponse:
        """Return the error for an answer in another form than the API's."""
        return InvalidResponse(
            self.action, f"{self.client.host} gave {what}", advice="check `api` and `api_url` of this registry"
        )

    def mapping(self, answer: httpx.Response) -> dict[str, Any]:
        """Return the JSON object that an answer is. Raises ``InvalidResponse``."""
        document = self._document(answer)
        if not isinstance(document, dict):
            raise self.invalid("no object of JSON")
        return document

    def entries(self, listed: object) -> list[dict[str, Any]]:
        """Return a list of JSON objects; null is an empty one. Raises ``InvalidResponse``."""
        if listed is None:
            return []
        if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
            raise self.invalid(f"no list of {self._noun}")
        return listed

    def rows(self, answer: httpx.Response) -> list[dict[str, Any]]:
        """Return the list of JSON objects that an answer is. Raises ``InvalidResponse``."""
        return self.entries(self._document(answer))

    def text(self, entry: dict[str, Any], key: str) -> str:
        """Return the text under a key of an entry. Raises ``InvalidResponse`` where there is none."""
        value = entry.get(key)
        if not isinstance(value, str):
            raise self.invalid(f"an entry of {self._noun} without {key}")
        return value

    def digest(self, value: object) -> str | None:
        """Return a digest; None for null or nothing. Raises ``InvalidResponse`` for what is no digest."""
        if value is None or value == "":
            return None
        try:
            return check_digest(value if isinstance(value, str) else repr(value))
        except InvalidReference as error:
            raise self.invalid(f"a digest that is none: {error}") from None

    def next_link(self, answer: httpx.Response, *, may_name_other_host: bool = False) -> str | None:
        """Return path and query of the next page by the answer's ``Link``, None for the last page.

        Raises ``IncompleteListing``: see ``next_page``.
        """
        try:
            address = next_link(answer.headers)
        except httpx.InvalidURL as error:
            raise self.incomplete(f"its Link cannot be read: {error}") from None
        if not address:
            return None
        return self.next_page(answer, address, may_name_other_host=may_name_other_host)

    def next_page(self, answer: httpx.Response, address: str, *, may_name_other_host: bool = False) -> str:
        """Return path and query of an address to which an answer leads.

        Scheme and port are dropped: behind a proxy they are often another's. Raises ``IncompleteListing`` for another
        host, which would be sent no credentials; with ``may_name_other_host`` only where its path is another too.
        """
        try:
            url = resolve(answer.request.url, address)
        except httpx.InvalidURL:
            quoted = shorten_repr(redact(address))
            raise self.incomplete(f"its next page is at {quoted}, which is not an address") from None
        asked = answer.request.url
        if url.host != asked.host and not (may_name_other_host and url.path == asked.path):
            raise self.incomplete(f"its next page is at another host, {url.netloc.decode()}, and is not read there")
        path: str = url.raw_path.decode()
        if path.startswith("//"):
            raise self.incomplete(f"its next page is at {shorten_repr(redact(path))}, which is not a path")
        return path

    def _document(self, answer: httpx.Response) -> Any:
        try:
            return json.loads(answer.content)
        except (ValueError, RecursionError):
            raise self.invalid("what is no JSON") from None


def agree(pages: Pages, total: object, before: int | None) -> int:
    """Return the total that a page names, which must be a number and that of the page before.

    Raises ``IncompleteListing``: where entries come or go meanwhile, pages by number pass some over.
    """
    text = total if isinstance(total, str) else str(total) if isinstance(total, int) else ""
    if not text.isascii() or not text.isdecimal():
        raise pages.incomplete("it does not say how many there are")
    number = int(text[:18])
    if before is not None and number != before:
        advice = "run again: something was created or deleted meanwhile"
        raise pages.incomplete(f"it first counted {before:,} entries, then {number:,}", advice)
    return number
