"""The httpx client of one registry: its transports, proxies, time-outs and headers, and no cookies."""

from __future__ import annotations

import ssl

import httpx

from imageferry import __version__
from imageferry.model import RegistryAccess
from imageferry.registry.http.aiohttp_transport import StreamingTransport
from imageferry.registry.http.internal_hosts import HostGuard, bare_host
from imageferry.registry.http.proxies import EnvironmentProxies, check_socks, parse_proxy
from imageferry.registry.http.retry import RetryTransport
from imageferry.registry.http.tls import TlsContexts, unverified_context
from imageferry.registry.limits.limiter import RequestLimiter

USER_AGENT = f"imageferry/{__version__}"

# Seconds, each for one step: a blob may take longer than all of them.
TIMEOUT = httpx.Timeout(connect=20.0, read=60.0, write=60.0, pool=None)


def open_client(
    host: str,
    access: RegistryAccess | None,
    auth: httpx.Auth,
    limiter: RequestLimiter,
    guard: HostGuard,
    *,
    insecure_hosts: frozenset[str] = frozenset(),
) -> httpx.AsyncClient:
    """Return the client of one registry, to be kept for the run: its TLS contexts, proxies and limits.

    Raises ``OSError`` or ``ssl.SSLError`` for certificate files that cannot be read, and ``ValueError`` or
    ``httpx.InvalidURL`` for an invalid proxy.
    """
    transport = _RoutingTransport(host, access, guard, insecure_hosts)
    return _Client(
        auth=auth,
        transport=RetryTransport(transport, limiter),
        timeout=TIMEOUT,
        trust_env=False,
        follow_redirects=True,
        max_redirects=5,
        # A compressed answer would not hash to the digest of what is stored.
        headers={"user-agent": USER_AGENT, "accept-encoding": "identity"},
    )


class _RoutingTransport(httpx.AsyncBaseTransport):
    """Sends each request with the TLS context and through the proxy that its host is to be reached by."""

    def __init__(
        self, host: str, access: RegistryAccess | None, guard: HostGuard, insecure_hosts: frozenset[str]
    ) -> None:
        self._host = host
        self._name = bare_host(host).strip("[]")
        self._tls = TlsContexts(access, host)
        self._guard = guard
        self._proxy = parse_proxy(access.proxy.get_secret_value()) if access and access.proxy else None
        self._environment = None if self._proxy else EnvironmentProxies()
        self._insecure_hosts = insecure_hosts
        self._transports: dict[tuple[ssl.SSLContext, str], StreamingTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Raises ``httpx.TransportError`` and ``RegistryError``."""
        url = request.url
        proxy = self._environment.proxy_for(url) if self._environment else self._proxy
        key = (self._context_for(url.host), str(proxy.url) if proxy else "")
        if key not in self._transports:
            if proxy is not None:
                check_socks(proxy, self._host)
            self._transports[key] = StreamingTransport(key[0], self._guard, proxy)
        return await self._transports[key].handle_async_request(request)

    def _context_for(self, host: str) -> ssl.SSLContext:
        if host == self._name:
            return self._tls.own
        return unverified_context() if host in self._insecure_hosts else self._tls.others

    async def aclose(self) -> None:
        """Close the connections."""
        for transport in self._transports.values():
            await transport.aclose()


class _NoCookies(httpx.Cookies):
    """A jar that stays empty: registries need no cookies, and looking for them costs a tenth of a HEAD."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Take none."""


class _Client(httpx.AsyncClient):
    """A client that neither takes nor sends cookies."""

    _no_cookies = _NoCookies()

    @property  # type: ignore[misc] # nobody sets it
    def cookies(self) -> httpx.Cookies:
        """The empty jar."""
        return self._no_cookies
