"""One registry over HTTP: where it is, and one exchange with it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping

import aiohttp
import httpx

from imageferry.model import RegistryAccess
from imageferry.reference import DOCKER_HUB
from imageferry.registry.errors import (
    ERROR_BODY_LIMIT,
    InvalidResponse,
    RegistryError,
    TlsError,
    Unreachable,
    causes,
    error_for,
)
from imageferry.registry.http.auth import PINNED_ORIGIN, SCOPES, RegistryAuth, origin_of
from imageferry.registry.http.internal_hosts import bare_host, is_internal
from imageferry.registry.http.transport import BODY_LIMIT, NO_RETRY, is_replayable, open_client, read_bounded
from imageferry.registry.limits.limiter import RequestLimiter
from imageferry.registry.limits.registry_limits import RegistryLimits
from imageferry.registry.upload_dialect import UploadDialect
from imageferry.report.waits import Waits

#: Docker Hub is written docker.io and spoken to here.
_DOCKER_HUB_HOST = "registry-1.docker.io"


_PLAIN: dict[type[BaseException], str] = {
    ConnectionRefusedError: "the connection is refused",
    ConnectionResetError: "the connection was reset",
    BrokenPipeError: "the connection was reset",
    aiohttp.ServerDisconnectedError: "the connection was closed",
    aiohttp.ClientPayloadError: "the answer ended too early",
    aiohttp.ServerTimeoutError: "nothing came in time",
}


class RegistryClient:
    """The HTTP side of one registry and one set of credentials; made for a run, closed with it.

    Its clients belong to the event loop in which it is first used.
    """

    def __init__(
        self,
        registry: str,
        access: RegistryAccess | None = None,
        throttle: RegistryLimits | None = None,
        waits: Waits | None = None,
    ) -> None:
        self.registry = registry
        self.host = _DOCKER_HUB_HOST if registry == DOCKER_HUB else registry
        self.ways = UploadDialect()
        self._insecure = access is not None and access.insecure
        self._auth = RegistryAuth(access, may_be_plain=self._insecure)
        self._bare_host = bare_host(self.host)
        self._origin: httpx.URL | None = None
        self._probing = asyncio.Lock()
        try:
            gate = RequestLimiter(registry, self._bare_host, throttle, waits, describe_error)
            self._client = open_client(self.host, access, self._auth, gate)
        except (OSError, ssl.SSLError) as error:
            raise TlsError(f"reach {registry}", f"its TLS files cannot be used: {error}") from None
        except (ValueError, httpx.InvalidURL):
            # Their words would show the proxy's password.
            advice = "check proxy in auth, HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
            raise InvalidResponse(f"reach {registry}", "its proxy's address is none", advice=advice) from None
        self._client.event_hooks = {"request": [self._check_host]}

    async def __aenter__(self) -> RegistryClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def send(
        self,
        method: str,
        path: str | httpx.URL,
        *,
        action: str,
        scopes: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
        content: bytes | httpx.AsyncByteStream | None = None,
        limit: int = ERROR_BODY_LIMIT,
        once: bool = False,
    ) -> httpx.Response:
        """Send one request and read the whole answer, of at most ``limit`` bytes, whatever its status.

        ``path`` is an absolute path at the registry or a whole URL; ``action`` says what it is for, in an error.
        ``once``: whatever comes of it, it is not tried again. Raises ``Unreachable``, ``Untrusted``, ``BadAnswer`` or
        what the login raises.
        """
        extensions = {SCOPES: scopes, BODY_LIMIT: limit, NO_RETRY: once}
        request = await self._request(method, path, action, headers, content, extensions=extensions)
        with self.in_words(action):
            whole = await read_bounded(await self._send(request), limit)
        if len(whole.content) > limit and whole.is_success:
            raise InvalidResponse(action, f"{self.host} answers with more than {limit:,} bytes")
        return whole

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str | httpx.URL,
        *,
        action: str,
        scopes: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
        content: bytes | httpx.AsyncByteStream | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Send one request and leave the body of the answer to be read within the context."""
        request = await self._request(method, path, action, headers, content, extensions={SCOPES: scopes})
        with self.in_words(action):
            response = await self._send(request)
        try:
            yield response
        finally:
            await response.aclose()

    async def _request(
        self,
        method: str,
        path: str | httpx.URL,
        action: str,
        headers: Mapping[str, str] | None,
        content: bytes | httpx.AsyncByteStream | None,
        *,
        extensions: dict[str, object],
    ) -> httpx.Request:
        origin = await self.origin(action)
        # To join a text is a tenth of what it costs to join addresses, and most requests are such.
        url = f"{origin}{path}" if isinstance(path, str) else origin.join(path)
        return self._client.build_request(method, url, headers=headers, content=content, extensions=extensions)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        # A streamed body cannot be sent a second time: who sends it follows the redirect.
        return await self._client.send(request, stream=True, follow_redirects=is_replayable(request))

    async def origin(self, action: str) -> httpx.URL:
        """Give the registry's address; with ``insecure`` find out once whether it speaks TLS or plain HTTP."""
        if self._origin is None:
            async with self._probing:
                if self._origin is None:
                    with self.in_words(action):
                        scheme = await self._probe(action) if self._insecure else "https"
                    self._origin = httpx.URL(f"{scheme}://{self.host}")
                    self._auth.belongs_to(self._origin)
        return self._origin

    async def _probe(self, action: str) -> str:
        probing = {NO_RETRY: True, BODY_LIMIT: ERROR_BODY_LIMIT}
        for scheme in ("https", "http"):
            try:
                await self._client.get(
                    f"{scheme}://{self.host}/v2/", auth=None, follow_redirects=False, extensions=probing
                )
            except (httpx.TransportError, ssl.SSLError) as error:
                last = error
            else:
                return scheme
        raise Unreachable(
            action, f"{self.host} does not answer, neither HTTPS nor HTTP: {describe_error(last)}"
        ) from None

    async def _check_host(self, request: httpx.Request) -> None:
        """Refuse to follow an answer inside this machine's network, or with a secret in hand to another host."""
        host = request.url.host
        if is_internal(host, self._bare_host):
            raise InvalidResponse(f"follow {self.host}", f"it leads to {host}, inside this machine's network")
        only = request.extensions.get(PINNED_ORIGIN)
        if only and request.method == "POST" and only != origin_of(request.url):
            reason = f"its token server {only} sends the identity token on to {origin_of(request.url)}"
            raise InvalidResponse(f"log in to {self.host}", reason)

    @contextlib.contextmanager
    def in_words(self, action: str) -> Iterator[None]:
        """Turn httpx's errors, which carry requests with credentials, into the engine's own."""
        try:
            yield
        except RegistryError:
            raise
        except httpx.TooManyRedirects:
            raise InvalidResponse(action, f"{self.host} redirects without end") from None
        except (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError) as error:
            # A UnicodeError is idna's, of a host that looks like an international name and is none.
            raise InvalidResponse(
                action, f"{self.host} leads to an address that is none: {describe_error(error)}"
            ) from None
        except (httpx.TransportError, ssl.SSLError) as error:
            raise self._transport_error(action, error) from None

    def _transport_error(self, action: str, error: Exception) -> RegistryError:
        chain = list(causes(error))
        words = describe_error(error)
        host = _asked(error) or self.host
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in chain):
            advice = "give its ca_file in auth, or insecure: true"
            return TlsError(action, f"the certificate of {host} does not verify: {words}", advice=advice)
        if any(isinstance(cause, ssl.SSLError) for cause in chain):
            advice = "if it speaks plain HTTP, set insecure: true for it in auth"
            return TlsError(action, f"{host} does not speak TLS: {words}", advice=advice)
        return Unreachable(action, f"no answer from {host}: {words}")


def _asked(error: Exception) -> str:
    """Give the host that a failed request went to: a token server's or a store's is not the registry's."""
    request = getattr(error, "_request", None)
    return request.url.netloc.decode() if isinstance(request, httpx.Request) else ""


def describe_error(error: BaseException) -> str:
    """Say an exception in words: those of its cause where it has plain ones, and never none."""
    if isinstance(error, httpx.TimeoutException) and error.__cause__ is None:
        return "nothing came in time"
    for cause in causes(error):
        if isinstance(cause, socket.gaierror):
            return "its name does not resolve"
        for kind, words in _PLAIN.items():
            if isinstance(cause, kind):
                return words
    return str(error) or type(error).__name__


def check_status(response: httpx.Response, action: str, host: str, *expected: int) -> httpx.Response:
    """Give the answer back if its status is an expected one, else raise the error that it means."""
    if response.status_code in expected:
        return response
    if response.status_code < 400:
        reason = f"{host} answered {response.status_code}, expected {' or '.join(map(str, expected))}"
        raise InvalidResponse(
            action, reason, advice="check that a registry is served there", status=response.status_code
        )
    raise error_for(response, action, host)
