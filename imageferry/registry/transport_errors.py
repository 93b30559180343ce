"""Errors of the connection, in words a person can act on: httpx's own carry requests with credentials."""

from __future__ import annotations

import socket
import ssl

import aiohttp
import httpx

from imageferry.registry.errors import RegistryError, TlsError, TooSlow, Unreachable, causes


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


def describe_error(error: BaseException) -> str:
    """Return an exception in words: those for one of its causes if there are any, else its own; never empty."""
    if isinstance(error, SlowAnswer):
        return str(error)
    if isinstance(error, httpx.TimeoutException) and error.__cause__ is None:
        return "nothing came in time"
    for cause in causes(error):
        if isinstance(cause, socket.gaierror):
            return "its name does not resolve"
        for kind, words in _IN_WORDS.items():
            if isinstance(cause, kind):
                return words
    return str(error) or type(error).__name__


def transport_error(action: str, error: Exception, host: str) -> RegistryError:
    """Make the error for an exchange with ``host``, or with one it leads to, that brought no answer."""
    chain = list(causes(error))
    words = describe_error(error)
    asked = _host_of(error) or host
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in chain):
        advice = "give its ca_file in auth, or insecure: true"
        return TlsError(action, f"the certificate of {asked} does not verify: {words}", advice=advice)
    if any(isinstance(cause, ssl.SSLError) for cause in chain):
        advice = "if it speaks plain HTTP, set insecure: true for it in auth"
        return TlsError(action, f"{asked} does not speak TLS: {words}", advice=advice)
    if isinstance(error, SlowAnswer):
        return TooSlow(action, f"{asked} answers too slowly: {words}")
    return Unreachable(action, f"no answer from {asked}: {words}")


def _host_of(error: Exception) -> str:
    """Return the host that a failed request went to: that of a token server or store is not the registry's."""
    request = getattr(error, "_request", None)
    return request.url.netloc.decode() if isinstance(request, httpx.Request) else ""
