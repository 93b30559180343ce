"""One registry over HTTP: its address, and one exchange with it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator

import httpx

from imageferry.model import RegistryAccess
from imageferry.reference import DOCKER_HUB
from imageferry.registry.errors import (
    ERROR_BODY_LIMIT,
    InvalidResponse,
    RegistryError,
    TlsError,
    Unreachable,
    error_for,
)
from imageferry.registry.http.auth import RegistryAuth, origin_of
from imageferry.registry.http.body import is_replayable, read_bounded
from imageferry.registry.http.client import open_client
from imageferry.registry.http.extensions import BODY_LIMIT, NO_RETRY, PINNED_ORIGIN, SCOPES, WRITE
from imageferry.registry.http.internal_hosts import HostGuard, bare_host
from imageferry.registry.limits.limiter import RequestLimiter
from imageferry.registry.limits.registry_limits import RegistryLimits
from imageferry.registry.request import RegistryRequest
from imageferry.registry.transport_errors import describe_error, is_permanent, may_be_plain, transport_error
from imageferry.registry.upload_dialect import UploadDialect
from imageferry.report.waits import Waits

# The host at which Docker Hub, written docker.io, is reached.
_DOCKER_HUB_HOST = "registry-1.docker.io"


# Methods whose redirects are followed to other hosts.
_READING = frozenset({"GET", "HEAD"})


class RegistryClient:
    """The HTTP side of one registry and one set of credentials; made for a run, closed with it.

    It belongs to the event loop in which it is first used. ``upload_dialect`` is how the registry takes uploads, as
    far as is known. ``insecure_hosts`` (without a port) are others that the configuration lets be insecure.

    Raises ``TlsError`` or ``InvalidResponse`` if its TLS files or its proxy cannot be used.
    """

    def __init__(
        self,
        registry: str,
        access: RegistryAccess | None = None,
        limits: RegistryLimits | None = None,
        waits: Waits | None = None,
        insecure_hosts: frozenset[str] = frozenset(),
    ) -> None:
        self.registry = registry
        self.host = _DOCKER_HUB_HOST if registry == DOCKER_HUB else registry
        self.upload_dialect = UploadDialect()
        self._insecure = access is not None and access.insecure
        self._auth = RegistryAuth(access, may_be_plain=self._insecure, plain_hosts=insecure_hosts)
        self._guard = HostGuard(self.host)
        self._origin: httpx.URL | None = None
        self._probing = asyncio.Lock()
        self.limiter = RequestLimiter(registry, bare_host(self.host), limits, waits)
        try:
            self._client = open_client(
                self.host, access, self._auth, self.limiter, self._guard, insecure_hosts=insecure_hosts
            )
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

    async def send(self, request: RegistryRequest, scopes: tuple[str, ...] = ()) -> httpx.Response:
        """Send one request and read the whole answer, of at most ``request.limit`` bytes, whatever its status.

        ``scopes`` are what a token must be good for. Raises ``Unreachable``, ``TlsError``, ``InvalidResponse`` or what
        the login raises.
        """
        limit = request.limit
        extensions = {SCOPES: scopes, BODY_LIMIT: limit, NO_RETRY: request.no_retry}
        built = await self._build(request, extensions)
        with self.translate_errors(request.action):
            response = await self._send(built)
            if not response.is_closed:
                response = await read_bounded(response, limit)
        if len(response.content) > limit and response.is_success:
            raise InvalidResponse(request.action, f"{self.host} answers with more than {limit:,} bytes")
        return response

    @contextlib.asynccontextmanager
    async def stream(self, request: RegistryRequest, scopes: tuple[str, ...] = ()) -> AsyncIterator[httpx.Response]:
        """Send one request and leave the body of the answer to be read within the context: see ``send``."""
        built = await self._build(request, {SCOPES: scopes})
        with self.translate_errors(request.action):
            response = await self._send(built)
        try:
            yield response
        finally:
            await response.aclose()

    async def _build(self, request: RegistryRequest, extensions: dict[str, object]) -> httpx.Request:
        origin, path = await self.origin(request.action), request.path
        # To join a text is a tenth of what it costs to join addresses, and most requests are such.
        url = f"{origin}{path}" if isinstance(path, str) else origin.join(path)
        built = self._client.build_request(
            request.method, url, headers=request.headers, content=request.content, extensions=extensions
        )
        if request.method not in _READING:
            built.extensions[WRITE] = (request.action, request.method, None if request.may_move else built.url)
        return built

    async def _send(self, request: httpx.Request) -> httpx.Response:
        # A streamed body cannot be sent a second time: who sends it follows the redirect.
        return await self._client.send(request, stream=True, follow_redirects=is_replayable(request))

    async def origin(self, action: str) -> httpx.URL:
        """Return the registry's address; with ``insecure`` find out, once, whether it speaks TLS or plain HTTP.

        Raises ``Unreachable`` if it speaks neither.
        """
        if self._origin is None:
            async with self._probing:
                if self._origin is None:
                    with self.translate_errors(action):
                        scheme = await self._probe(action) if self._insecure else "https"
                    self._origin = httpx.URL(f"{scheme}://{self.host}")
                    self._auth.set_origin(self._origin)
        return self._origin

    async def _probe(self, action: str) -> str:
        """Return the scheme by which the registry answers. Raises ``httpx.TransportError`` where only one can help."""
        probing = {NO_RETRY: True, BODY_LIMIT: ERROR_BODY_LIMIT}
        for scheme in ("https", "http"):
            try:
                answer = await self._client.get(
                    f"{scheme}://{self.host}/v2/", auth=None, follow_redirects=False, extensions=probing
                )
            except (httpx.TransportError, ssl.SSLError) as error:
                if not (scheme == "https" and may_be_plain(error)) and is_permanent(error):
                    raise
                last = error
            else:
                if scheme == "http" and answer.status_code == 400 and b"HTTPS" in answer.content:
                    # nginx, Go: a port for HTTPS, which did not answer as such.
                    raise last
                return scheme
        raise Unreachable(action, f"{self.host} does not answer, neither HTTPS nor HTTP: {describe_error(last)}")

    async def _check_host(self, request: httpx.Request) -> None:
        """Refuse to follow an answer into this machine's network (SSRF), or to another host with a secret in hand."""
        await self._guard.check(request.url.host)
        written: tuple[str, str, httpx.URL | None] | None = request.extensions.get(WRITE)
        if written is not None and not _is_same_write(request, *written[1:]):
            reason = f"{self.host} answers with a redirect to {request.url.copy_with(userinfo=b'', query=None)}"
            advice = "what is written goes nowhere else: if the registry is there, name that host in the configuration"
            raise InvalidResponse(written[0], reason, advice=advice)
        only = request.extensions.get(PINNED_ORIGIN)
        if only and request.method == "POST" and only != origin_of(request.url):
            reason = f"its token server {only} sends the identity token on to {origin_of(request.url)}"
            raise InvalidResponse(f"log in to {self.host}", reason)

    @contextlib.contextmanager
    def translate_errors(self, action: str) -> Iterator[None]:
        """Turn httpx's errors, which carry requests with credentials, into ``RegistryError``."""
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
            raise transport_error(action, error, self.host) from None


def _is_same_write(request: httpx.Request, method: str, asked: httpx.URL | None) -> bool:
    """Whether a write is what it was before it was redirected, at the same host and not without the TLS that it had."""
    if request.method != method:
        return False
    return asked is None or (request.url.host == asked.host and (request.url.scheme, asked.scheme) != ("http", "https"))


def check_status(response: httpx.Response, action: str, host: str, *expected: int) -> httpx.Response:
    """Return the response if its status is an expected one, else raise the error that it means."""
    if response.status_code in expected:
        return response
    if response.status_code < 400:
        reason = f"{host} answered {response.status_code}, expected {' or '.join(map(str, expected))}"
        raise InvalidResponse(
            action, reason, advice="check that a registry is served there", status=response.status_code
        )
    raise error_for(response, action, host)
