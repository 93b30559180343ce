"""The httpx client of one registry: its transports, proxies, time-outs and headers, and no cookies."""

from __future__ import annotations

import base64

import httpx

from imageferry import __version__
from imageferry.model import RegistryAccess
from imageferry.registry.http.aiohttp_transport import StreamingTransport
from imageferry.registry.http.proxies import environment_proxies
from imageferry.registry.http.retry import RetryTransport
from imageferry.registry.http.tls import tls_context
from imageferry.registry.limits.limiter import RequestLimiter

USER_AGENT = f"imageferry/{__version__}"

# Seconds, each for one step: a blob may take longer than all of them.
TIMEOUT = httpx.Timeout(connect=20.0, read=60.0, write=60.0, pool=None)


def open_client(
    host: str, access: RegistryAccess | None, auth: httpx.Auth, limiter: RequestLimiter
) -> httpx.AsyncClient:
    """Return the client of one registry, to be kept for the run: its TLS context, proxies and limits.

    Raises ``OSError`` or ``ssl.SSLError`` for certificate files that cannot be read, and ``ValueError`` or
    ``httpx.InvalidURL`` for an invalid proxy.
    """
    context = tls_context(access)

    def transport(proxy: str | None) -> RetryTransport:
        return RetryTransport(StreamingTransport(context, host, _proxy(proxy) if proxy else None), limiter)

    own = access.proxy.get_secret_value() if access and access.proxy else None
    mounts = {} if own else {pattern: transport(proxy) for pattern, proxy in environment_proxies(host).items()}
    return _Client(
        auth=auth,
        transport=transport(own),
        mounts=mounts,
        timeout=TIMEOUT,
        trust_env=False,
        follow_redirects=True,
        max_redirects=5,
        # A compressed answer would not hash to the digest of what is stored.
        headers={"user-agent": USER_AGENT, "accept-encoding": "identity"},
    )


def _proxy(url: str) -> httpx.Proxy:
    """Return a proxy whose credentials are the header from which aiohttp makes ``Proxy-Authorization``."""
    proxy = httpx.Proxy(url)
    if proxy.auth is None:
        return proxy
    encoded = base64.b64encode(":".join(proxy.auth).encode()).decode()
    return httpx.Proxy(proxy.url, headers={"Authorization": f"Basic {encoded}"})


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
