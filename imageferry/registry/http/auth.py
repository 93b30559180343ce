"""Registry authentication (bearer, basic, anonymous) as an httpx authentication flow.

Follows the token authentication of the distribution project, and its OAuth2 form (docker's ``identitytoken``).
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import defaultdict
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import httpx

from imageferry.model import RegistryAccess
from imageferry.registry.errors import InvalidResponse, LoginFailed, Unavailable, error_for
from imageferry.registry.http.body import is_replayable
from imageferry.registry.http.challenge import Challenge, parse_challenges
from imageferry.registry.http.client import TIMEOUT
from imageferry.registry.http.extensions import BODY_LIMIT, PINNED_ORIGIN, SCOPES
from imageferry.registry.http.internal_hosts import is_internal
from imageferry.text import shorten_repr

# Seconds a token lives if its server does not say (token authentication specification).
DEFAULT_LIFETIME = 60.0

# The most that a token server's answer may have, in bytes; tokens for many scopes have some 30 kB.
_ANSWER_LIMIT = 1024 * 1024

_EXTENSIONS = {"timeout": TIMEOUT.as_dict(), BODY_LIMIT: _ANSWER_LIMIT}


@dataclass(frozen=True, slots=True)
class _Token:
    header: str
    # On the monotonic clock: a little before the server forgets it.
    renew_at: float


class RegistryAuth(httpx.Auth):
    """Answers the challenges of one registry, and sends its credentials to no other host.

    A request states what it needs as ``extensions={SCOPES: ("repository:a/b:pull", …)}``; a token is asked for once
    for each set of scopes, however many requests wait for it. ``may_be_plain``: tokens may come by plain HTTP from the
    registry's own host; from ``plain_hosts`` they always may.
    """

    def __init__(
        self, access: RegistryAccess | None, *, may_be_plain: bool, plain_hosts: frozenset[str] = frozenset()
    ) -> None:
        self._access = access
        self._may_be_plain = may_be_plain
        self._plain_hosts = plain_hosts
        self._origin: httpx.URL | None = None
        self._bearer: Challenge | None = None
        self._basic = False
        self._tokens: dict[tuple[str, ...], _Token] = {}
        self._locks: defaultdict[tuple[str, ...], asyncio.Lock] = defaultdict(asyncio.Lock)

    def set_origin(self, origin: httpx.URL) -> None:
        """Set the registry's address: the only origin that is sent credentials."""
        self._origin = origin

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send with the token or password that is known to be needed; on a 401 answer the challenge, once.

        Raises ``LoginFailed``, ``InvalidResponse`` and other ``RegistryError``.
        """
        if not self._is_own(request.url):
            yield request
            return
        scopes: tuple[str, ...] = request.extensions.get(SCOPES, ())
        used = None
        if self._bearer is not None and scopes:
            # The registry is known to want a token: save the 401.
            async for step in self._renewed(scopes, None):
                step.answer = yield step.request
            used = self._tokens[scopes].header
        elif self._basic:
            used = self._basic_header()
        if used:
            request.headers["authorization"] = used
        response = yield request
        if response.status_code != 401 or not self._is_own(response.request.url) or not is_replayable(request):
            return
        self._learn(parse_challenges(response.headers.get_list("www-authenticate")))
        if self._bearer is not None:
            async for step in self._renewed(scopes, used):
                step.answer = yield step.request
            request.headers["authorization"] = self._tokens[scopes].header
        elif self._basic and used is None:
            request.headers["authorization"] = self._basic_header()
        else:
            return
        yield request

    def _is_own(self, url: httpx.URL) -> bool:
        origin = self._origin
        return origin is not None and (url.scheme, url.host, url.port) == (
            origin.scheme,
            origin.host,
            origin.port,
        )

    def _learn(self, challenges: list[Challenge]) -> None:
        """Prefer a bearer challenge; take Basic only with a name and a password to answer it."""
        for challenge in challenges:
            if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                self._bearer = challenge
                return
        if any(challenge.scheme == "basic" for challenge in challenges) and self._has_password():
            self._basic = True

    def _has_password(self) -> bool:
        return self._access is not None and self._access.username is not None and self._access.password is not None

    def _basic_header(self) -> str:
        access = self._access
        assert access is not None
        assert access.username is not None
        assert access.password is not None
        pair = f"{access.username.get_secret_value()}:{access.password.get_secret_value()}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"

    async def _renewed(self, scopes: tuple[str, ...], refused: str | None) -> AsyncGenerator[_Step, None]:
        """See that there is a valid token for the scopes, and another one than ``refused``.

        Yields at most one request to send; many that wait here are served by the first one's token.
        """
        async with self._locks[scopes]:
            token = self._tokens.get(scopes)
            if token and token.header != refused and time.monotonic() < token.renew_at:
                return
            step = _Step(self._token_request(scopes))
            yield step
            assert step.answer is not None
            await step.answer.aread()
            self._tokens[scopes] = self._read_token(step.answer)

    def _token_request(self, scopes: tuple[str, ...]) -> httpx.Request:
        """Return the request for a token: GET with Basic or nothing, POST with an identity token."""
        assert self._bearer is not None
        realm, service = self._realm(), self._bearer.parameters.get("service", "")
        wanted = [("service", service)] if service else []
        identity = self._access.identity_token if self._access else None
        if identity is not None:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": identity.get_secret_value(),
                "client_id": "imageferry",
                "scope": " ".join(scopes),
                **dict(wanted),
            }
            return httpx.Request("POST", realm, data=form, extensions={**_EXTENSIONS, PINNED_ORIGIN: origin_of(realm)})
        headers = {"authorization": self._basic_header()} if self._has_password() else {}
        query = httpx.QueryParams([*realm.params.multi_items(), *wanted, *(("scope", scope) for scope in scopes)])
        return httpx.Request("GET", realm.copy_with(query=str(query).encode()), headers=headers, extensions=_EXTENSIONS)

    def _realm(self) -> httpx.URL:
        """Return the token server's address. Raises ``InvalidResponse`` if credentials must not go there."""
        assert self._bearer is not None
        assert self._origin is not None
        text = self._bearer.parameters["realm"]
        action = f"log in to {self._origin.host}"
        try:
            # A name and a password in it would be sent in place of the user's.
            realm = httpx.URL(text).copy_with(userinfo=b"")
            host = realm.host
        except (httpx.InvalidURL, UnicodeError):
            raise InvalidResponse(action, f"its token server {shorten_repr(text)} is not an address") from None
        if realm.scheme not in ("https", "http") or not host:
            raise InvalidResponse(action, f"its token server {shorten_repr(text)} is not an http or https address")
        if is_internal(host, self._origin.host):
            raise InvalidResponse(
                action, f"its token server {shorten_repr(text)} is an address inside this machine's network"
            )
        may_be_plain = host in self._plain_hosts or (self._may_be_plain and host == self._origin.host)
        if realm.scheme == "http" and not may_be_plain:
            reason = f"its token server {shorten_repr(text)} would get the password without TLS"
            raise InvalidResponse(action, reason, advice="set insecure: true for it in auth if its network is your own")
        return realm

    def _read_token(self, response: httpx.Response) -> _Token:
        host = response.request.url.netloc.decode()
        action = f"log in to {self._origin.host if self._origin else host}"
        if response.status_code != 200:
            error = error_for(response, action, host)
            if not isinstance(error, Unavailable):
                reason = error.reason if self._access else f"{error.reason} to an anonymous request"
                raise LoginFailed(action, reason, advice="check its username and password", status=error.status)
            raise error
        try:
            answer = json.loads(response.content)
            value = answer.get("token") or answer["access_token"]
            lifetime = float(answer.get("expires_in") or DEFAULT_LIFETIME)
            if not lifetime > 0:
                # A token that has expired before it came, or a lifetime that is no number (NaN).
                lifetime = DEFAULT_LIFETIME
            if not isinstance(value, str) or not value.isascii() or not value.isprintable():
                raise TypeError
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            raise InvalidResponse(action, f"the token server {host} gave no token") from None
        return _Token(f"Bearer {value}", time.monotonic() + lifetime - min(30.0, lifetime / 4))


def origin_of(url: httpx.URL) -> str:
    """Return the scheme, host and port of an address."""
    return f"{url.scheme}://{url.netloc.decode()}"


@dataclass(slots=True)
class _Step:
    """A request for a token that the flow sends, and its answer."""

    request: httpx.Request
    answer: httpx.Response | None = None
