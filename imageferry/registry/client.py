"""One registry over HTTP: its address, and one exchange with it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator

import httpx

from imageferry.model import RegistryAccess
from imageferry.reference import DOCKER_HUB
from imageferry.registry.blob_dialect import BlobDialect
from imageferry.registry.errors import (
    CREDENTIALS,
    ERROR_BODY_LIMIT,
    TRANSIENT_STATUSES,
    InvalidResponse,
    RegistryError,
    TlsError,
    Unreachable,
    answering_host,
    error_for,
)
from imageferry.registry.http.auth import RegistryAuth
from imageferry.registry.http.body import is_replayable, read_bounded
from imageferry.registry.http.challenge import Challenge, parse_challenges
from imageferry.registry.http.client import open_client
from imageferry.registry.http.extensions import BODY_LIMIT, NO_RETRY, PINNED_ORIGIN, SCOPES, WRITE
from imageferry.registry.http.internal_hosts import HostGuard, bare_host
from imageferry.registry.http.location import origin_of
from imageferry.registry.http.proxies import environment_addresses
from imageferry.registry.limits.limiter import RequestLimiter
from imageferry.registry.limits.registry_limits import RegistryLimits
from imageferry.registry.limits.request_class import OPTIONAL
from imageferry.registry.request import RegistryRequest
from imageferry.registry.transport_errors import describe_error, is_permanent, may_be_plain, transport_error
from imageferry.registry.upload_dialect import UploadDialect
from imageferry.report.waits import Waits

# Tags asked for at once: ECR allows no more. Some registries answer with pages of their own size.
PAGE = 1000

# The host at which Docker Hub, written docker.io, is reached.
_DOCKER_HUB_HOST = "registry-1.docker.io"


# Methods whose redirects are followed to other hosts.
_READING = frozenset({"GET", "HEAD"})


class RegistryClient:
    """The HTTP side of one registry and one set of credentials; made for a run, closed with it.

    It belongs to the event loop in which it is first used. ``upload_dialect`` is how the registry takes uploads,
    ``blob_dialect`` how it gives blobs, and ``tags_page`` how many tags it may be asked for at once (0: it is not
    told), as far as is known. ``insecure_hosts`` (without a port) are others that the configuration lets be insecure.

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
        # HEAD of a manifest is refused, though GET works.
        self.refuses_manifest_heads = False
        self.tags_page = PAGE
        self.blob_dialect = BlobDialect()
        self._insecure = access is not None and access.insecure
        self._auth = RegistryAuth(access, may_be_plain=self._insecure, plain_hosts=insecure_hosts, registry=self.host)
        self._guard = HostGuard(self.host)
        self._origin: httpx.URL | None = None
        self._probing = asyncio.Lock()
        # The challenges of /v2/, once it was asked.
        self._ping: list[str] | None = None
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
        own_proxy = access.proxy.get_secret_value() if access and access.proxy else None
        for proxy in [own_proxy] if own_proxy else environment_addresses():
            self._auth.secrets.add_address(proxy)
        self._client.event_hooks = {"request": [self._check_host]}

    async def __aenter__(self) -> RegistryClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        self._auth.secrets.close()

    @property
    def has_credentials(self) -> bool:
        """Whether there is a login for this registry, which no other host is sent."""
        return self._auth.has_credentials

    async def send(self, request: RegistryRequest, scopes: tuple[str, ...] = ()) -> httpx.Response:
        """Send one request and read the whole answer, of at most ``request.limit`` bytes, whatever its status.

        ``scopes`` are what a token must be good for. Raises ``Unreachable``, ``TlsError``, ``InvalidResponse`` or what
        the login raises.
        """
        limit = request.limit
        extensions: dict[str, object] = {SCOPES: scopes, CREDENTIALS: self._auth.has_credentials}
        extensions |= {BODY_LIMIT: limit, NO_RETRY: request.no_retry, OPTIONAL: request.optional}
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
        built = await self._build(request, {SCOPES: scopes, CREDENTIALS: self._auth.has_credentials})
        with self.translate_errors(request.action):
            response = await self._send(built)
        try:
            yield response
        finally:
            await response.aclose()

    async def _build(self, request: RegistryRequest, extensions: dict[str, object]) -> httpx.Request:
        origin, path = await self.origin(request.action), request.path
        # To join a text is a tenth of what it costs to join addresses, and most requests are such.
        # A whole address stays as it is: to join it would drop what is empty in it.
        url = f"{origin}{path}" if isinstance(path, str) else path if path.is_absolute_url else origin.join(path)
        built = self._client.build_request(
            request.method, url, headers=request.headers, content=request.content, extensions=extensions
        )
        if request.method not in _READING:
            built.extensions[WRITE] = (request.action, request.method, None if request.may_move else built.url)
        return built

    async def _send(self, request: httpx.Request) -> httpx.Response:
        # A streamed body cannot be sent a second time: who sends it follows the redirect.
        follow = is_replayable(request)
        response = await self._client.send(request, stream=True, follow_redirects=follow)
        if follow and self._may_want_login(request, response) and await self._learn_from_ping():
            await response.aclose()
            response = await self._client.send(request, stream=True)
        return response

    def _may_want_login(self, request: httpx.Request, response: httpx.Response) -> bool:
        """Whether an answer is one to nobody, though it does not say so, and may be another one to who logs in."""
        if response.status_code == 401:
            is_unclear = "www-authenticate" not in response.headers
        else:
            is_unclear = response.status_code in (403, 404) and self._auth.has_credentials
        return is_unclear and response.url == request.url and "authorization" not in request.headers

    async def _learn_from_ping(self) -> bool:
        """Ask at /v2/, once, how to log in: some say it nowhere else; return whether that is known now."""
        if self._auth.knows_challenge:
            return True
        async with self._probing:
            if self._ping is None:
                with contextlib.suppress(httpx.HTTPError, ssl.SSLError, RegistryError):
                    await self._send_ping(f"{self._origin}/v2/")
                self._ping = self._ping or []
        self._auth.learn(parse_challenges(self._ping))
        return self._auth.knows_challenge

    async def challenges(self, action: str) -> list[Challenge]:
        """Return the challenges of /v2/, asked for once; none where it lets anyone in. Raises ``RegistryError``."""
        origin = await self.origin(action)
        async with self._probing:
            if self._ping is None:
                with self.translate_errors(action):
                    answer = await self._send_ping(f"{origin}/v2/", no_retry=False)
                if self._ping is None:
                    raise error_for(answer, action, self.host)
        return parse_challenges(self._ping or [])

    async def _send_ping(self, url: str, *, no_retry: bool = True) -> httpx.Response:
        extensions = {NO_RETRY: no_retry, BODY_LIMIT: ERROR_BODY_LIMIT}
        answer = await self._client.get(url, auth=None, follow_redirects=False, extensions=extensions)
        if answer.status_code not in TRANSIENT_STATUSES:
            self._ping = answer.headers.get_list("www-authenticate") if answer.status_code == 401 else []
        return answer

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
        for scheme in ("https", "http"):
            try:
                answer = await self._send_ping(f"{scheme}://{self.host}/v2/")
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
        wanted = " or ".join(map(str, expected))
        reason = f"{answering_host(response, host)} answered {response.status_code}, expected {wanted}"
        raise InvalidResponse(
            action, reason, advice="check that a registry is served there", status=response.status_code
        )
    raise error_for(response, action, host)
