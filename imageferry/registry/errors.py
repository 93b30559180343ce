"""Errors of a registry, in words a person can act on.

None of these holds a request, a response or a header: an ``httpx`` error would carry the credentials with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

from imageferry.errors import ImageferryError
from imageferry.registry.redaction import redact
from imageferry.text import escape_control

# How much of an error's body is read, in bytes.
ERROR_BODY_LIMIT = 64 * 1024

# Statuses of transient errors (RFC 9110; registries send 429 for their limits, proxies before them 499 and 520 to 530);
# what a server does not know how to do, 501 and 505, it will not know later.
TRANSIENT_STATUSES = frozenset({408, 425, 429, 499, *range(500, 600)}) - {501, 505}

# An extension of requests: whether there are credentials for the registry, set by RegistryClient. None is sent.
CREDENTIALS = "imageferry.credentials"

# Characters of what a registry says that are quoted.
_QUOTED = 500

# Where registries and token servers give reasons in a form of their own, in the order in which they are quoted.
_REASON_KEYS = ("error", "errors", "error_description", "message", "Message", "detail", "details", "reason")


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
        # All three may quote a registry, which must write neither to a terminal nor to a log, and may repeat a secret.
        self.action, self.reason, self.advice = map(escape_control, (action, redact(reason), advice))
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


class TooSlow(Unreachable):
    """The bytes of an answer come so slowly that they are as good as none."""


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
    """One of ``TRANSIENT_STATUSES``: the registry may answer later."""

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


def answering_host(response: httpx.Response, host: str) -> str:
    """Return who answered a request to ``host``, in words: itself, or one that it leads to."""
    other = _led_to(response, host)
    return f"{other}, to which {host} leads," if other else host


def error_for(response: httpx.Response, action: str, host: str) -> RegistryError:
    """Return the error for a response whose body has been read (as far as ``ERROR_BODY_LIMIT``)."""
    status = response.status_code
    codes, said = _read_reasons(response)
    reason = f"{answering_host(response, host)} answered {status} {response.reason_phrase[:100]}".rstrip()
    if said:
        reason += f" ({said})"
    kind, advice = _kind(status, codes)
    if status in (401, 403) and _led_to(response, host):
        advice = f"the credentials for {host} are not sent there"
    elif kind is Unauthorized:
        advice = _advise_login(response, host)
    elif status == 400 and b"SSL certificate" in _body(response):
        # nginx: "No required SSL certificate was sent", "The SSL certificate error".
        advice = "it wants a client certificate that it trusts: give client_cert and client_key in auth"
    elif kind is NotFound and response.request.method == "POST":
        # Harbor's projects, and repositories at ECR, are not made on push.
        advice = "its repository or project must be created there first"
    return kind(action, reason, advice=advice, status=status, codes=codes)


def no_credentials(host: str) -> str:
    """Return the advice for a registry that wants to know who asks, where nobody is known."""
    return f"no credentials for {host}: give its username and password in auth"


def _advise_login(response: httpx.Response, host: str) -> str:
    if not _extension(response, CREDENTIALS, default=True):
        return f"{no_credentials(host)}, and check that the repository exists"
    return f"check the username and password for {host}, and that the repository exists"


def _kind(status: int, codes: tuple[str, ...]) -> tuple[type[RegistryError], str]:
    if status in TRANSIENT_STATUSES and "NAME_UNKNOWN" not in codes:
        advice = "its request limit is reached: try later or with an account" if status == 429 else ""
        return Unavailable, advice
    if status == 401:
        return Unauthorized, ""
    if status == 403:
        return Forbidden, "check that this account may do it, and quotas and policies there"
    if status == 404 or "NAME_UNKNOWN" in codes:
        return NotFound, ""
    return RequestRejected, ""


def _led_to(response: httpx.Response, host: str) -> str:
    """Return the host and port that answered where it is not ``host``; empty if it is, or is not known."""
    try:
        url = response.request.url
        asked = httpx.URL(f"{url.scheme}://{host}")
    except (RuntimeError, httpx.InvalidURL):
        return ""
    return "" if url.netloc == asked.netloc else url.netloc.decode()


def _extension(response: httpx.Response, name: str, *, default: bool) -> bool:
    try:
        return bool(response.request.extensions.get(name, default))
    except RuntimeError:
        return default


def _read_reasons(response: httpx.Response) -> tuple[tuple[str, ...], str]:
    """Return the error codes of a response, and what it says in words; both empty if it is for no person.

    The specification has ``{"errors": [{"code", "message", "detail"}]}``; token servers, gateways and clouds have
    ``{"details": …}`` (Docker Hub), ``{"error": …, "error_description": …}`` (RFC 6749, 5.2), ``{"message": …}``,
    or a line of text.
    """
    try:
        document = json.loads(response.content[:ERROR_BODY_LIMIT])
    except httpx.ResponseNotRead:
        return (), ""
    except (ValueError, RecursionError):
        is_text = response.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/plain"
        return (), _shorten(response.content[:ERROR_BODY_LIMIT].decode(errors="replace").strip()) if is_text else ""
    errors = document.get("errors") if isinstance(document, dict) else None
    if not isinstance(errors, list):
        return (), _shorten(_other_reasons(document))
    found = [(_text(entry.get("code")), _text(entry.get("message"))) for entry in errors if isinstance(entry, dict)]
    codes = tuple(code for code, _ in found if code)
    return codes, _shorten("; ".join(f"{code}: {message}".strip(": ") for code, message in found))


def _other_reasons(document: Any) -> str:
    """Return what a document in another form than the specification's says."""
    if not isinstance(document, dict):
        return ""
    reasons = [_text(document.get(key)) for key in _REASON_KEYS]
    if isinstance(error := document.get("error"), dict):
        reasons = [_text(error.get(key)) for key in ("code", "message")] + reasons
    return ": ".join(dict.fromkeys(reason for reason in reasons if reason))


def _shorten(said: str) -> str:
    # A secret that is cut is no longer recognized as a whole.
    return redact(said)[:_QUOTED]


def _body(response: httpx.Response) -> bytes:
    try:
        return response.content[:ERROR_BODY_LIMIT]
    except httpx.ResponseNotRead:
        return b""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
