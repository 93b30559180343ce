"""Bearer tokens: how a token server is asked for one, and what it answers.

Follows the token authentication of the distribution project, and its OAuth2 form (docker's ``identitytoken``).
"""

from __future__ import annotations

import json
from collections.abc import Set
from typing import NamedTuple
from urllib.parse import urlencode

import httpx

from imageferry.registry.errors import InvalidResponse, LoginFailed, Unavailable, error_for, no_credentials
from imageferry.registry.http.challenge import Challenge
from imageferry.registry.http.client import TIMEOUT
from imageferry.registry.http.extensions import BODY_LIMIT, PINNED_ORIGIN
from imageferry.registry.http.location import append_query, origin_of, resolve
from imageferry.registry.redaction import redact
from imageferry.text import shorten_repr

# Seconds a token lives if its server does not say (token authentication specification).
DEFAULT_LIFETIME = 60.0

# The most that a token server's answer may have, in bytes; tokens for many scopes have some 30 kB.
_ANSWER_LIMIT = 1024 * 1024

_EXTENSIONS = {"timeout": TIMEOUT.as_dict(), BODY_LIMIT: _ANSWER_LIMIT}


class Service(NamedTuple):
    """Whom a token is for: ``host``, with its port as it was asked, and how one logs in there.

    ``authorization`` is the header for the token server, ``identity_token`` goes there instead; both are empty for
    nobody. ``advice`` is for one who is refused. Tokens may come by plain HTTP from ``plain_hosts`` (without a port).
    """

    host: str
    advice: str
    plain_hosts: Set[str] = frozenset()
    authorization: str = ""
    identity_token: str = ""

    @property
    def action(self) -> str:
        """What is tried, as an error says it."""
        return f"log in to {self.host}"


def token_request(service: Service, realm: httpx.URL, challenge: Challenge, scopes: tuple[str, ...]) -> httpx.Request:
    """Return the request for a token to a token server: GET with Basic or nothing, POST with an identity token.

    Raises ``InvalidResponse`` if that must not have credentials.
    """
    if realm.scheme == "http" and realm.host not in service.plain_hosts:
        quoted = f"its token server {shorten_repr(redact(challenge.parameters['realm']))}"
        advice = "set insecure: true for it in auth if its network is your own"
        raise InvalidResponse(service.action, f"{quoted} would get the password without TLS", advice=advice)
    name = challenge.parameters.get("service", "")
    wanted = [("service", name)] if name else []
    if service.identity_token:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": service.identity_token,
            "client_id": "imageferry",
            "scope": " ".join(scopes),
            **dict(wanted),
        }
        return httpx.Request("POST", realm, data=form, extensions={**_EXTENSIONS, PINNED_ORIGIN: origin_of(realm)})
    headers = {"authorization": service.authorization} if service.authorization else {}
    try:
        url = append_query(realm, urlencode([*wanted, *(("scope", scope) for scope in scopes)]))
    except httpx.InvalidURL:
        raise InvalidResponse(service.action, "the address of its token server is too long") from None
    return httpx.Request("GET", url, headers=headers, extensions=_EXTENSIONS)


def token_server(service: Service, challenge: Challenge) -> httpx.URL:
    """Return the address of the token server that a challenge names. Raises ``InvalidResponse`` if it is none."""
    text = challenge.parameters["realm"]
    quoted = f"its token server {shorten_repr(redact(text))}"
    try:
        # A name and a password in it would be sent in place of the user's.
        realm = httpx.URL(text).copy_with(userinfo=b"")
        if realm.scheme not in ("https", "http") or not realm.host:
            raise InvalidResponse(service.action, f"{quoted} is not an http or https address")
        return resolve(realm, text).copy_with(userinfo=b"")
    except (httpx.InvalidURL, UnicodeError):
        raise InvalidResponse(service.action, f"{quoted} is not an address") from None


def read_token(response: httpx.Response, service: Service) -> tuple[str, float]:
    """Return the token of an answer, and the seconds for which it is used.

    Raises ``LoginFailed``, ``InvalidResponse`` or ``Unavailable``.
    """
    host = response.request.url.netloc.decode()
    if response.status_code != 200:
        error = error_for(response, service.action, host)
        if isinstance(error, Unavailable):
            raise error
        is_anonymous = not (service.authorization or service.identity_token)
        reason = f"{error.reason} to an anonymous request" if is_anonymous else error.reason
        raise LoginFailed(service.action, reason, advice=service.advice, status=error.status)
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
        raise InvalidResponse(service.action, f"the token server {host} gave no token") from None
    # A little less than until the server forgets it.
    return value, lifetime - min(30.0, lifetime / 4)


def own_service(host: str, authorization: str, identity_token: str, plain_hosts: Set[str]) -> Service:
    """Return the registry itself as what a token is for, with the credentials for it, if there are any."""
    advice = "check its username and password" if authorization or identity_token else no_credentials(host)
    return Service(host, advice, plain_hosts, authorization, identity_token)


def service_elsewhere(url: httpx.URL, registry: str, plain_hosts: Set[str]) -> Service:
    """Return a host to which the registry leads, such as its store of blobs: it gets no credentials."""
    advice = f"{registry} leads there, and the credentials for it are not sent there"
    return Service(url.netloc.decode(), advice, plain_hosts)
