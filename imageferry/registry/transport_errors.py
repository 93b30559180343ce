"""Errors of the connection, in words a person can act on: httpx's own carry requests with credentials."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from typing import NamedTuple

import aiohttp
import httpx

from imageferry.registry.errors import (
    InvalidResponse,
    RegistryError,
    TlsError,
    TooSlow,
    UnknownHost,
    Unreachable,
    causes,
)


class SlowAnswer(httpx.ReadTimeout):
    """An answer that comes, but too slowly."""


_IN_WORDS: dict[type[BaseException], str] = {
    ConnectionRefusedError: "the connection is refused",
    ConnectionResetError: "the connection was reset",
    BrokenPipeError: "the connection was reset",
    aiohttp.ServerDisconnectedError: "the connection was closed",
    aiohttp.ClientPayloadError: "the answer ended too early",
    aiohttp.ServerTimeoutError: "nothing came in time",
}

_ENDED = frozenset({"the connection was reset", "the connection was closed"})

# What OpenSSL says of bytes that are no TLS.
_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)

# Alerts about the client's certificate (RFC 8446, 6.2), or for the want of one (handshake_failure in TLS 1.2).
_CLIENT_CERTIFICATE_ALERTS = (
    *("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "UNKNOWN_CA"),
    *("CERTIFICATE_REVOKED", "CERTIFICATE_EXPIRED", "CERTIFICATE_UNKNOWN", "ACCESS_DENIED"),
)

# Of x509_vfy.h: X509_V_ERR_CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED, _HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH.
_NOT_YET_VALID, _EXPIRED, _OTHER_NAMES = 9, 10, frozenset({62, 64})


# What a registry may do, and what helps.
WANTS_CERTIFICATE = "wants a client certificate, give one that it trusts as client_cert and client_key in auth"


class ShownCertificate(NamedTuple):
    """What a refused certificate says: for whom it is, and when it is valid."""

    names: tuple[str, ...]
    begins: datetime
    ends: datetime


class CertificateRefused(httpx.ConnectError):
    """A certificate does not verify; ``shown`` is what it says, where that could be read."""

    def __init__(self, message: str, shown: ShownCertificate | None) -> None:
        super().__init__(message)
        self.shown = shown


class NotHttp(httpx.RemoteProtocolError):
    """What came cannot be read as HTTP: says why."""


class ProxyFailure(httpx.ProxyError):
    """The ``proxy`` (host and port) cannot be reached, or refuses: with a ``status``, or in SOCKS, with words."""

    def __init__(self, proxy: str, what: str, status: int | None = None) -> None:
        super().__init__(f"its proxy {proxy} {what}")
        self.status = status


def is_permanent(error: BaseException) -> bool:
    """Whether another try in a moment brings the same.

    Another try makes no certificate valid, no TLS of plain HTTP, no address of what is none, and no name known.
    """
    if isinstance(error, httpx.UnsupportedProtocol | NotHttp):
        return True
    if isinstance(error, ProxyFailure):
        return error.status is not None and error.status < 500
    return _tls_cause(error) is not None or is_unknown_host(error)


def may_be_plain(error: BaseException) -> bool:
    """Whether who failed to answer by https may do so by plain HTTP: it has not shown that it speaks TLS."""
    cause = _tls_cause(error)
    return cause is not None and "ALERT" not in (cause.reason or "")


def describe_error(error: BaseException) -> str:
    """Return an exception in words: those for one of its causes if there are any, else its own; never empty."""
    if isinstance(error, SlowAnswer):
        return str(error)
    if isinstance(error, httpx.TimeoutException) and error.__cause__ is None:
        return "nothing came in time"
    if isinstance(error, ProxyFailure):
        return str(error)
    for cause in causes(error):
        if isinstance(cause, socket.gaierror):
            known = _is_unknown_name(cause)
            return "its name does not resolve" if known else "its name cannot be resolved now (the DNS does not answer)"
        for kind, words in _IN_WORDS.items():
            if isinstance(cause, kind):
                return words
    return str(error) or type(error).__name__


def transport_error(action: str, error: Exception, host: str) -> RegistryError:
    """Make the error for an exchange with ``host``, or with one it leads to, that brought no answer."""
    asked, led = _asked(error, host)
    if isinstance(error, ProxyFailure):
        return _proxy_error(action, error, asked, led)
    if isinstance(error, NotHttp):
        reason = f"{asked} was reached, but its answer is not valid HTTP: {describe_error(error)}{_by(led)}"
        return InvalidResponse(action, reason, advice="check its port, and what listens there")
    cause = _tls_cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        shown = error.shown if isinstance(error, CertificateRefused) else None
        return _certificate_error(action, cause, shown, asked, led)
    if cause is not None:
        return _tls_error(action, cause.reason or "", asked, led)
    return _silence_error(action, error, asked, led)


def _silence_error(action: str, error: Exception, asked: str, led: str) -> RegistryError:
    words = describe_error(error)
    if is_unknown_host(error):
        advice = "check the name, and the DNS here"
        return UnknownHost(action, f"no answer from {asked}: {words}{_by(led)}", advice=advice)
    if isinstance(error, SlowAnswer):
        return TooSlow(action, f"{asked} answers too slowly: {words}{_by(led)}")
    # Where a client certificate is wanted, some servers just hang up.
    ended = words in _ENDED and not led and _scheme_of(error) == "https"
    advice = f"if this is always so and it {WANTS_CERTIFICATE}" if ended else ""
    return Unreachable(action, f"no answer from {asked}: {words}{_by(led)}", advice=advice)


def _proxy_error(action: str, error: ProxyFailure, asked: str, led: str) -> RegistryError:
    reason = f"{asked} is not reached: {error}{_by(led)}"
    if error.status is None or error.status >= 500:
        return Unreachable(action, reason, advice="check proxy in auth, or HTTPS_PROXY and NO_PROXY")
    if error.status == httpx.codes.PROXY_AUTHENTICATION_REQUIRED:
        advice = "check the username and password of that proxy, in auth or in HTTPS_PROXY"
    else:
        advice = "check that the proxy lets it through, or name it in NO_PROXY"
    return InvalidResponse(action, reason, advice=advice, status=error.status)


def _certificate_error(
    action: str, cause: ssl.SSLCertVerificationError, shown: ShownCertificate | None, asked: str, led: str
) -> TlsError:
    code = cause.verify_code
    what = f"does not verify: {cause.verify_message or cause}"
    advice = f"give its authority as ca_file of {led or asked} in auth, or insecure: true for {asked}"
    if code == _EXPIRED:
        what = "has expired" + (f" on {_minute(shown.ends)}" if shown else "")
        advice = f"have it renewed there; until then insecure: true for {asked} in auth takes any certificate"
    elif code == _NOT_YET_VALID:
        what = "is not valid yet" + (f", but from {_minute(shown.begins)} on" if shown else "")
        advice = "check the clock of this machine"
    elif code in _OTHER_NAMES:
        names = f": it is for {', '.join(shown.names)}" if shown and shown.names else ""
        what = f"does not verify for this name{names}"
        advice = "" if led else "name the registry as its certificate does"
    return TlsError(action, f"the certificate of {asked} {what}{_by(led)}", advice=advice)


def _tls_error(action: str, why: str, asked: str, led: str) -> TlsError:
    words = f"{why.lower().replace('_', ' ') or 'unknown cause'}{_by(led)}"
    if why in _NO_TLS:
        advice = "if it speaks plain HTTP, set insecure: true for it in auth"
        return TlsError(action, f"{asked} does not speak TLS: {words}", advice=advice)
    if "ALERT" in why and why.endswith(_CLIENT_CERTIFICATE_ALERTS):
        advice = "" if led else f"if it {WANTS_CERTIFICATE}"
        return TlsError(action, f"{asked} ends the TLS handshake: {words}", advice=advice)
    return TlsError(action, f"TLS with {asked} fails: {words}")


def _tls_cause(error: BaseException) -> ssl.SSLError | None:
    """Return OpenSSL's own error among the causes: aiohttp's of that type know no reason."""
    found = (cause for cause in causes(error) if isinstance(cause, ssl.SSLError))
    return next((cause for cause in found if not isinstance(cause, aiohttp.ClientError)), None)


def _minute(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def is_unknown_host(error: BaseException) -> bool:
    """Whether the name of a host is known not to resolve."""
    return any(_is_unknown_name(cause) for cause in causes(error))


def _is_unknown_name(cause: BaseException) -> bool:
    # EAI_AGAIN is a name server that does not answer, and heals.
    return isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN


def _asked(error: Exception, host: str) -> tuple[str, str]:
    """Return the host that was asked, and for another than the registry's own the one that led there."""
    request = getattr(error, "_request", None)
    if not isinstance(request, httpx.Request):
        return host, ""
    led = request.url.host != httpx.URL(f"https://{host}").host
    return request.url.netloc.decode(), host if led else ""


def _scheme_of(error: Exception) -> str:
    request = getattr(error, "_request", None)
    return request.url.scheme if isinstance(request, httpx.Request) else ""


def _by(led: str) -> str:
    return f" ({led} leads there)" if led else ""
