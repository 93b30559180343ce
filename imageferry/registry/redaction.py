"""Secrets taken out of what registries, token servers and proxies say: some repeat what they were sent."""

from __future__ import annotations

import base64
import contextlib
import re
import urllib.parse
import weakref
from collections import OrderedDict

REDACTED = "***"

# Characters: a shorter secret is redacted only where it is a word of its own, or it would be found in ordinary ones.
SHORTEST_ANYWHERE = 8

# Characters of the shortest part of a secret, as where a text was cut, that is redacted.
SHORTEST_PART = 16

# Tokens that are remembered at once; each is needed only as long as answers to its requests may come.
TOKENS_KEPT = 256

# What a secret that is sent consists of (RFC 6750, 2.1), also if it is percent-encoded; padding apart.
_RUN = re.compile(r"[A-Za-z0-9._~+/%-]{16,}")
_CUT = "..."


class Secrets:
    """The secrets of one registry, in every form in which they are sent; they are redacted until ``close``."""

    def __init__(self) -> None:
        # The secrets that last, the longest first: one may be a part of another.
        self._lasting: list[str] = []
        self._tokens: OrderedDict[str, None] = OrderedDict()
        _LIVING.add(self)

    def add_password(self, username: str, password: str) -> None:
        """Add a password, alone and with its user name as ``Basic`` has it (RFC 7617)."""
        pair = f"{username}:{password}"
        self.add(password)
        self.add(pair)

    def add(self, secret: str) -> None:
        """Add a secret, plain, in Base64, percent-encoded and escaped."""
        if secret:
            self._lasting = sorted({*self._lasting, *_forms(secret)}, key=lambda form: (-len(form), form))

    def add_address(self, address: str) -> None:
        """Add the password in an address, such as a proxy's."""
        with contextlib.suppress(ValueError):
            parts = urllib.parse.urlsplit(address)
            if parts.password:
                self.add_password(urllib.parse.unquote(parts.username or ""), urllib.parse.unquote(parts.password))
                self.add(parts.password)

    def add_token(self, token: str) -> None:
        """Add a token that a token server gave."""
        self._tokens[token] = None
        self._tokens.move_to_end(token)
        while len(self._tokens) > TOKENS_KEPT:
            self._tokens.popitem(last=False)

    def redact(self, text: str) -> str:
        """Return the text without these secrets."""
        for secret in (*self._lasting, *self._tokens):
            if secret in text:
                text = _replace(text, secret)
        return _RUN.sub(self._redact_part, text)

    def _redact_part(self, run: re.Match[str]) -> str:
        # As ``shorten_repr`` cuts, too.
        return _CUT.join(REDACTED if self._is_part(part.strip(".")) else part for part in run[0].split(_CUT))

    def _is_part(self, text: str) -> bool:
        return len(text) >= SHORTEST_PART and any(text in secret for secret in (*self._lasting, *self._tokens))

    def close(self) -> None:
        """Redact them no more: nothing is asked of the registry any longer."""
        _LIVING.discard(self)


def _replace(text: str, secret: str) -> str:
    if len(secret) >= SHORTEST_ANYWHERE:
        return text.replace(secret, REDACTED)
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", REDACTED, text)


# Those of the clients that are in use: an error is made in many places, most of which know no credentials.
_LIVING: weakref.WeakSet[Secrets] = weakref.WeakSet()


def redact(text: str) -> str:
    """Return a text that may quote a registry without the secrets of any registry that is in use."""
    for secrets in list(_LIVING):
        text = secrets.redact(text)
    return text


def _forms(secret: str) -> set[str]:
    """Return the forms in which a secret may be quoted."""
    encoded = secret.encode(errors="surrogatepass")
    return {
        secret,
        base64.b64encode(encoded).decode().rstrip("="),
        base64.urlsafe_b64encode(encoded).decode().rstrip("="),
        urllib.parse.quote(encoded, safe=""),
        urllib.parse.quote(encoded),
        urllib.parse.quote_plus(encoded),
        encoded.decode("latin-1"),
        repr(secret)[1:-1],
        repr(encoded)[2:-1],
    }
