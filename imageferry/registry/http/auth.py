"""Registry authentication (bearer, basic, anonymous) as an httpx authentication flow."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import httpx

from imageferry.model import RegistryAccess
from imageferry.registry.errors import InvalidResponse, LoginFailed
from imageferry.registry.http.body import is_replayable
from imageferry.registry.http.challenge import Challenge, parse_challenges
from imageferry.registry.http.extensions import SCOPES
from imageferry.registry.http.internal_hosts import is_internal
from imageferry.registry.http.location import origin_of
from imageferry.registry.http.scopes import widen
from imageferry.registry.http.tokens import (
    Service,
    own_service,
    read_token,
    service_elsewhere,
    token_request,
    token_server,
)
from imageferry.registry.redaction import Secrets, redact
from imageferry.text import shorten_repr

# Challenges that one request answers: the first, and one to a valid token that names another scope.
_CHALLENGES = 2

# What a token is kept for: its scopes, and before them the origin if that is not the registry's.
_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Token:
    header: str
    # On the monotonic clock.
    renew_at: float


class RegistryAuth(httpx.Auth):
    """Answers the challenges of one registry, and sends its credentials to no other host.

    A request states what it needs as ``extensions={SCOPES: ("repository:a/b:pull", …)}``; a token is asked for once
    for each set of scopes, however many requests wait for it. ``may_be_plain``: tokens may come by plain HTTP from the
    registry's own host; from ``plain_hosts`` they always may. ``registry`` is its host, with its port as it is asked;
    empty: as in ``set_origin``. ``secrets`` are redacted until they are closed.
    """

    def __init__(
        self,
        access: RegistryAccess | None,
        *,
        may_be_plain: bool,
        plain_hosts: frozenset[str] = frozenset(),
        registry: str = "",
    ) -> None:
        self._may_be_plain = may_be_plain
        self._plain_hosts = plain_hosts
        self._registry = registry
        self._origin: httpx.URL | None = None
        self._bearer: Challenge | None = None
        self._basic = False
        self.secrets = Secrets()
        self._password = _basic_header(access, self.secrets)
        identity = access.identity_token if access else None
        self._identity = identity.get_secret_value() if identity else ""
        self.secrets.add(self._identity)
        # What a challenge has named besides the scopes of a request, added to them; and scopes that it did not help.
        self._wider: dict[_Key, _Key] = {}
        self._narrow: set[_Key] = set()
        # The keys of the tokens for hosts to which the registry leads, by origin.
        self._elsewhere: dict[str, _Key] = {}
        self._tokens: dict[_Key, _Token] = {}
        self._locks: defaultdict[_Key, asyncio.Lock] = defaultdict(asyncio.Lock)

    def set_origin(self, origin: httpx.URL) -> None:
        """Set the registry's address: the only origin that is sent credentials."""
        self._origin = origin
        self._registry = self._registry or origin.netloc.decode()

    @property
    def has_credentials(self) -> bool:
        """Whether there is a name and a password, or an identity token, to log in with."""
        return bool(self._password or self._identity)

    @property
    def knows_challenge(self) -> bool:
        """Whether it is known how to log in, so that every request does."""
        return self._basic or self._bearer is not None

    def learn(self, challenges: list[Challenge]) -> None:
        """Prefer a bearer challenge; take Basic only with a name and a password to answer it."""
        if (bearer := _bearer_of(challenges)) is not None:
            self._bearer = bearer
        elif self._password and any(challenge.scheme == "basic" for challenge in challenges):
            self._basic = True

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send with the token or password that is known to be needed; on a 401 answer the challenge.

        A host to which the registry leads is answered as nobody. Raises ``LoginFailed``, ``InvalidResponse`` and other
        ``RegistryError``.
        """
        if self._is_own(request.url):
            scopes: _Key = request.extensions.get(SCOPES, ())
            wanted = self._wanted(scopes)
            if self._basic or self._bearer is not None:
                # The registry is known to want a login: save the 401.
                async for step in self._prepared(request, wanted):
                    step.answer = yield step.request
            answer = yield request
            if self._is_refused(answer):
                async for step in self._log_in(request, answer, wanted):
                    step.answer = answer = yield step.request
        else:
            if token := self._tokens.get(self._elsewhere.get(origin_of(request.url), ())):
                request.headers["authorization"] = token.header
            answer = yield request
        if answer.status_code == 401 and not self._is_own(answer.request.url):
            async for step in self._log_in_elsewhere(answer):
                step.answer = yield step.request

    async def _log_in(
        self, request: httpx.Request, answer: httpx.Response, wanted: _Key
    ) -> AsyncGenerator[_Step, None]:
        """Send a refused request again: with another token, and once more with one for a scope that is named then."""
        scopes: _Key = request.extensions.get(SCOPES, ())
        for number in range(_CHALLENGES):
            used = request.headers.get("authorization")
            self._read_challenges(answer, scopes, used, is_new=number > 0)
            if not is_replayable(request) or (number and self._wanted(scopes) == wanted):
                return
            if self._bearer is not None:
                async for step in self._widened(scopes, used):
                    yield step
                wanted = self._wanted(scopes)
                request.headers["authorization"] = self._tokens[wanted].header
            elif self._basic and used is None:
                request.headers["authorization"] = self._password
            else:
                return
            sent = _Step(request)
            yield sent
            assert sent.answer is not None
            answer = sent.answer
            if not self._is_refused(answer):
                return
        self._give_up_wider(scopes)

    async def _prepared(self, request: httpx.Request, wanted: _Key) -> AsyncGenerator[_Step, None]:
        """Put what is known to be needed into a request."""
        if self._bearer is not None and wanted:
            token = self._tokens.get(wanted)
            if token is None or time.monotonic() >= token.renew_at:
                async for step in self._renewed(wanted, None, self._ask_own):
                    yield step
                token = self._tokens[wanted]
            request.headers["authorization"] = token.header
        elif self._basic:
            request.headers["authorization"] = self._password

    def _is_refused(self, answer: httpx.Response) -> bool:
        return answer.status_code == 401 and self._is_own(answer.request.url)

    def _read_challenges(self, answer: httpx.Response, scopes: _Key, used: str | None, *, is_new: bool) -> None:
        """Learn how to log in, and which scope a token that was ``used`` has lacked; ``is_new``: it cannot be old."""
        challenges = parse_challenges(answer.headers.get_list("www-authenticate"))
        self.learn(challenges)
        bearer = _bearer_of(challenges)
        if used is None or bearer is None or scopes in self._narrow:
            return
        if is_new or bearer.parameters.get("error") != "invalid_token":
            self._wider[scopes] = widen(self._wanted(scopes), bearer.parameters.get("scope", ""))

    def _wanted(self, scopes: _Key) -> _Key:
        return self._wider.get(scopes, scopes)

    def _give_up_wider(self, scopes: _Key) -> bool:
        """Ask for no more than the scopes of a request from now on; return whether there was more."""
        if self._wider.pop(scopes, scopes) == scopes:
            return False
        self._narrow.add(scopes)
        return True

    async def _widened(self, scopes: _Key, refused: str | None) -> AsyncGenerator[_Step, None]:
        """See that there is a new token for the scopes, and for what was named besides them if that is granted."""
        try:
            async for step in self._renewed(self._wanted(scopes), refused, self._ask_own):
                yield step
        except LoginFailed:
            if not self._give_up_wider(scopes):
                raise
            async for step in self._renewed(scopes, refused, self._ask_own):
                yield step

    async def _log_in_elsewhere(self, refused: httpx.Response) -> AsyncGenerator[_Step, None]:
        """Answer the challenge of a host to which the registry leads, as nobody, and send the request once more."""
        request, used = refused.request, refused.request.headers.get("authorization")
        challenge = _bearer_of(parse_challenges(refused.headers.get_list("www-authenticate")))
        if challenge is None or not is_replayable(request):
            return
        own = request.url.scheme == "http" or self._may_be_plain
        plain = self._plain_hosts | ({request.url.host} if own else set())
        service = service_elsewhere(request.url, self._registry, plain)
        scopes = widen((), challenge.parameters.get("scope", ""))
        key = (origin_of(request.url), *scopes)

        def ask(_key: _Key) -> tuple[Service, httpx.Request]:
            return service, self._checked(service, challenge, scopes)

        async for step in self._renewed(key, used, ask):
            yield step
        self._elsewhere[key[0]] = key
        request.headers["authorization"] = self._tokens[key].header
        yield _Step(request)

    def _is_own(self, url: httpx.URL) -> bool:
        origin = self._origin
        return origin is not None and (url.scheme, url.host, url.port) == (
            origin.scheme,
            origin.host,
            origin.port,
        )

    async def _renewed(
        self, key: _Key, refused: str | None, ask: Callable[[_Key], tuple[Service, httpx.Request]]
    ) -> AsyncGenerator[_Step, None]:
        """See that there is a valid token for the key, and another one than ``refused``.

        Yields at most one request to send; many that wait here are served by the first one's token.
        """
        async with self._locks[key]:
            token = self._tokens.get(key)
            if token and token.header != refused and time.monotonic() < token.renew_at:
                return
            service, request = ask(key)
            step = _Step(request)
            yield step
            assert step.answer is not None
            await step.answer.aread()
            value, seconds = read_token(step.answer, service)
            self.secrets.add_token(value)
            self._tokens[key] = _Token(f"Bearer {value}", time.monotonic() + seconds)

    def _ask_own(self, scopes: _Key) -> tuple[Service, httpx.Request]:
        """Return the request for a token of the registry's own, with the credentials for it."""
        assert self._bearer is not None
        plain = self._plain_hosts | ({self._origin.host} if self._origin and self._may_be_plain else set())
        service = own_service(self._registry, self._password, self._identity, plain)
        return service, self._checked(service, self._bearer, scopes)

    def _checked(self, service: Service, challenge: Challenge, scopes: _Key) -> httpx.Request:
        assert self._origin is not None
        server = token_server(service, challenge)
        if is_internal(server.host, self._origin.host):
            quoted = shorten_repr(redact(challenge.parameters["realm"]))
            reason = f"its token server {quoted} is an address inside this machine's network"
            raise InvalidResponse(service.action, reason)
        return token_request(service, server, challenge, scopes)


def _bearer_of(challenges: list[Challenge]) -> Challenge | None:
    for challenge in challenges:
        if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
            return challenge
    return None


def _basic_header(access: RegistryAccess | None, secrets: Secrets) -> str:
    """Return the header of a name and a password, empty without them; they are added to ``secrets``."""
    if access is None or access.username is None or access.password is None:
        return ""
    username, password = access.username.get_secret_value(), access.password.get_secret_value()
    secrets.add_password(username, password)
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


@dataclass(slots=True)
class _Step:
    """A request that the flow sends, and its answer."""

    request: httpx.Request
    answer: httpx.Response | None = None
