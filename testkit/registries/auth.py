"""Who may do what at the in-process registry: nobody asked, Basic, or Bearer with tokens."""

import binascii
import json
import secrets
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qs

from testkit.registries.exchange import Call, Reply, error

Access = dict[str, set[str]]
"""Repositories, each with actions: pull, push, delete."""

Grants = Callable[[str | None, str], set[str]]
"""What a user (None: anonymous) may do at a repository."""


class Auth(Protocol):
    """A registry's way of asking who is there."""

    def check(self, call: Call, url: str) -> Reply | None:
        """Refuse a request, or None. `url` is the registry's own."""

    async def token(self, call: Call) -> Reply:
        """Answer at the token endpoint."""


def needs_of(call: Call) -> Access:
    """What a request needs. An empty answer is a request that only has to be let in."""
    if not call.repository:
        return {}
    if call.kind == "mount":
        needs = {call.repository: {"pull", "push"}}
        needs.setdefault(call.query("from") or "", {"pull"})
        needs.pop("", None)
        return needs
    if call.kind.startswith("upload-") or call.kind == "manifest-put":
        return {call.repository: {"pull", "push"}}
    return {call.repository: {"delete"} if call.method == "DELETE" else {"pull"}}


def basic_user(header: str | None, users: dict[str, str]) -> str | None:
    """The user of a Basic header, if the password is theirs."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = b64decode(encoded).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return name if users.get(name) == password else None


def _unauthorized(challenges: list[str], message: str = "authentication required") -> Reply:
    headers = {"WWW-Authenticate": ", ".join(challenges)} if challenges else {}
    return error(401, "UNAUTHORIZED", message, headers)


@dataclass
class Basic:
    """Name and password with every request. Its users may do everything."""

    users: dict[str, str]
    realm: str = "Registry Realm"
    anonymous_pull: bool = False
    open_ping: bool = False
    silent: bool = False
    """Say 401 without a challenge."""

    def check(self, call: Call, url: str) -> Reply | None:
        """Refuse whoever is not a user."""
        if basic_user(call.header("authorization"), self.users) is not None:
            return None
        if call.kind == "ping" and self.open_ping:
            return None
        if self.anonymous_pull and all(actions <= {"pull"} for actions in needs_of(call).values()):
            return None
        return _unauthorized([] if self.silent else [f'Basic realm="{self.realm}"'])

    async def token(self, call: Call) -> Reply:
        """There are no tokens here."""
        return error(404, "UNSUPPORTED")


@dataclass
class Token:
    """A token that was given out."""

    user: str | None
    access: Access
    until: float


@dataclass
class Bearer:
    """Tokens from an endpoint of its own. Two registries may share one."""

    users: dict[str, str] = field(default_factory=dict)
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    """Refresh (identity) tokens, each with its user."""
    anonymous: frozenset[str] = frozenset()
    """What may be done without a name; nothing: no token without a name."""
    grants: Grants | None = None
    """What a user may do at a repository; None: everything."""
    field_name: str = "token"
    """The answer's field: `token`, `access_token`, or `both`."""
    expires_in: int | None = 300
    """What the answer tells; None: nothing."""
    lifetime: float | None = None
    """How long a token really holds; None: for ever."""
    first_scope_only: bool = False
    realm: str | None = None
    """The token endpoint; None: `/token` of the registry that asks."""
    service: str = "registry.example"
    more_challenges: list[str] = field(default_factory=list)
    """Other challenges that come before this one's, such as `Basic realm="x"`."""
    accept_basic: bool = False
    open_ping: bool = False
    silent: bool = False
    denied: int = 401
    """The status where a token is good but does not reach: 401 (insufficient_scope) or 403."""
    post: int | None = None
    """Answer this status to a POST for a token."""
    tokens: dict[str, Token] = field(default_factory=dict)

    def revoke_all(self) -> None:
        """Make every token that was given out worthless."""
        self.tokens.clear()

    def issue(self, access: Access, user: str | None = None) -> str:
        """Give out a token for just that."""
        text = secrets.token_urlsafe(24)
        until = float("inf") if self.lifetime is None else time.monotonic() + self.lifetime
        self.tokens[text] = Token(user, access, until)
        return text

    def check(self, call: Call, url: str) -> Reply | None:
        """Refuse a request whose token is absent, unknown, expired, or does not reach."""
        header = call.header("authorization")
        if (call.kind == "ping" and self.open_ping) or (self.accept_basic and basic_user(header, self.users)):
            return None
        scheme, _, text = (header or "").partition(" ")
        token = self.tokens.get(text) if scheme.lower() == "bearer" else None
        if token is None:
            return self._challenge(call, url, "invalid_token" if header else None)
        if token.until < time.monotonic():
            return self._challenge(call, url, "invalid_token")
        if all(actions <= token.access.get(name, set()) for name, actions in needs_of(call).items()):
            return None
        if self.denied != 401:
            return error(self.denied, "DENIED", "requested access to the resource is denied")
        return self._challenge(call, url, "insufficient_scope")

    async def token(self, call: Call) -> Reply:
        """Return a token for the scopes that are asked for, as far as the user may."""
        if call.method == "POST":
            if self.post is not None:
                return error(self.post, "UNSUPPORTED", "POST is not for here")
            form = parse_qs((await call.body()).decode())
            user = self._user_of_form({name: values[0] for name, values in form.items()})
            scopes = " ".join(form.get("scope", [])).split()
        else:
            header = call.header("authorization")
            user = basic_user(header, self.users)
            if user is None and (header or not self.anonymous):
                return error(401, "UNAUTHORIZED", "incorrect username or password")
            scopes = " ".join(call.entry.query.get("scope", [])).split()
        if call.method == "POST" and user is None:
            return error(401, "UNAUTHORIZED", "invalid refresh token")
        return self._given(self.issue(self._access(user, scopes), user))

    def _given(self, text: str) -> Reply:
        names = ("token", "access_token") if self.field_name == "both" else (self.field_name,)
        document: dict[str, object] = dict.fromkeys(names, text)
        if self.expires_in is not None:
            document["expires_in"] = self.expires_in
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def _user_of_form(self, form: dict[str, str]) -> str | None:
        if form.get("grant_type") == "refresh_token":
            return self.refresh_tokens.get(form.get("refresh_token", ""))
        name = form.get("username", "")
        return name if name and self.users.get(name) == form.get("password") else None

    def _access(self, user: str | None, scopes: list[str]) -> Access:
        access: Access = {}
        for scope in scopes[:1] if self.first_scope_only else scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            if kind == "repository":
                wanted = {"pull", "push", "delete"} if actions == "*" else set(actions.split(","))
                access.setdefault(name, set()).update(wanted & self._allowed(user, name))
        return access

    def _allowed(self, user: str | None, name: str) -> set[str]:
        if self.grants is not None:
            return self.grants(user, name)
        return set(self.anonymous) if user is None else {"pull", "push", "delete"}

    def _challenge(self, call: Call, url: str, problem: str | None) -> Reply:
        if self.silent:
            return _unauthorized([])
        parts = [f'realm="{self.realm or url + "/token"}"', f'service="{self.service}"']
        needs = needs_of(call)
        if needs:
            scopes = (f"repository:{name}:{','.join(sorted(needs[name]))}" for name in needs)
            parts.append(f'scope="{" ".join(scopes)}"')
        if problem:
            parts.append(f'error="{problem}"')
        return _unauthorized([*self.more_challenges, "Bearer " + ",".join(parts)])
