"""Errors of a registry, in words a person can act on.

None of these holds a request, a response or a header: an ``httpx`` error would carry the credentials with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

from imageferry.errors import ImageferryError
from imageferry.text import escape_control

# How much of an error's body is read, in bytes.
ERROR_BODY_LIMIT = 64 * 1024

# Statuses of transient errors (RFC 9110; registries send 429 for their limits).
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class RegistryError(ImageferryError):
    """A registry did not do what was asked.

    ``action`` is what was tried ("read manifest quay.io/a/b:v1"), ``reason`` why it failed, ``advice`` what to do.
    ``status`` is the HTTP status where there was an answer, ``codes`` the error codes in it (distribution
    specification, "Error Codes").
    """

    def __init__(
        self,
        action: str,
        reason: str,
        *,
        advice: str = "",
        status: int | None = None,
        codes: tuple[str, ...] = (),
    ) -> None:
        # All three may quote a registry, which must write neither to a terminal nor to a log.
        self.action, self.reason, self.advice = escape_control(action), escape_control(reason), escape_control(advice)
        self.status, self.codes = status, codes
        super().__init__(f"cannot {self.action}: {self.reason}" + (f"; {self.advice}" if advice else ""))


class Unreachable(RegistryError):
    """No answer: the name does not resolve, the connection is refused or breaks, or nothing comes in time."""

    transient = True


class UnknownHost(Unreachable):
    """The name of a host does not resolve, and will not in a moment."""

    transient = False


class RegistryDown(Unreachable):
    """No answer for so long, to so many requests, that only a probe is sent now and then."""

    transient = False


class TlsError(RegistryError):
    """TLS fails: a certificate is refused, at either side, or the other side does not speak TLS."""


class Unauthorized(RegistryError):
    """401: the credentials are missing or wrong."""


class LoginFailed(Unauthorized):
    """The token server gives no token for these credentials."""


class Forbidden(RegistryError):
    """403: the credentials are valid but do not suffice, or a quota or policy refuses."""


class NotFound(RegistryError):
    """404: no such repository, manifest, blob or upload session."""


class RequestRejected(RegistryError):
    """Another 4xx answer: the same request will be refused again."""


class Unavailable(RegistryError):
    """408, 429 or 5xx: the registry may answer later."""

    transient = True


class LimitReached(Unavailable):
    """The registry's request limit is reached, and it will be long before it takes requests again."""

    transient = False


class InvalidResponse(RegistryError):
    """A response that violates the distribution specification: no registry is served at this address."""


class DigestMismatch(RegistryError):
    """Bytes do not hash to their digest, or their number is not the descriptor's size."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def error_for(response: httpx.Response, action: str, host: str) -> RegistryError:
    """Return the error for a response whose body has been read (as far as ``ERROR_BODY_LIMIT``)."""
    status = response.status_code
    codes, said = _entries(response)
    reason = f"{host} answered {status} {response.reason_phrase[:100]}".rstrip()
    if said:
        reason += f" ({said})"
    kind, advice = _kind(status, codes, host)
    if status == 400 and b"SSL certificate" in _body(response):
        # nginx: "No required SSL certificate was sent", "The SSL certificate error".
        advice = "it wants a client certificate that it trusts: give client_cert and client_key in auth"
    if kind is NotFound and response.request.method == "POST":
        # Harbor's projects, and repositories at ECR, are not made on push.
        advice = "its repository or project must be created there first"
    return kind(action, reason, advice=advice, status=status, codes=codes)


def _kind(status: int, codes: tuple[str, ...], host: str) -> tuple[type[RegistryError], str]:
    if status in TRANSIENT_STATUSES and "NAME_UNKNOWN" not in codes:
        advice = "its request limit is reached: try later or with an account" if status == 429 else ""
        return Unavailable, advice
    if status == 401:
        return Unauthorized, f"check the username and password for {host}, and that the repository exists"
    if status == 403:
        return Forbidden, "check that this account may do it, and quotas and policies there"
    if status == 404 or "NAME_UNKNOWN" in codes:
        return NotFound, ""
    return RequestRejected, ""


def _entries(response: httpx.Response) -> tuple[tuple[str, ...], str]:
    """Return the codes and messages of ``{"errors": [{"code", "message", "detail"}]}``; empty if it is not that."""
    try:
        errors = json.loads(response.content[:ERROR_BODY_LIMIT])["errors"]
        found = [(_text(entry.get("code")), _text(entry.get("message"))) for entry in errors]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, httpx.ResponseNotRead):
        return (), ""
    codes = tuple(code for code, _ in found if code)
    return codes, "; ".join(f"{code}: {message}".strip(": ") for code, message in found)[:500]


def _body(response: httpx.Response) -> bytes:
    try:
        return response.content[:ERROR_BODY_LIMIT]
    except httpx.ResponseNotRead:
        return b""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
