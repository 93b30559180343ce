"""aiohttp as the transport beneath httpx: large reads, bodies untouched, no cookies, guarded name resolution."""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp
import httpx
import yarl
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

from imageferry.registry.errors import causes
from imageferry.registry.http.certificates import ShownCertificates
from imageferry.registry.http.internal_hosts import GuardedResolver, HostGuard
from imageferry.registry.http.proxies import is_socks
from imageferry.registry.http.response_handler import HEADER_LIMIT, HEADERS_LIMIT, LenientConnector
from imageferry.registry.transport_errors import CertificateRefused, NotHttp, ProxyFailure, describe_error

# How much of a blob is read at once, in bytes: aiohttp's default of 16 KiB costs twice the CPU.
READ_SIZE = 1024 * 1024


class StreamingTransport(AiohttpTransport):
    """Sends requests for one registry to the hosts that its ``guard`` lets pass, directly or through ``proxy``."""

    def __init__(self, context: ssl.SSLContext, guard: HostGuard, proxy: httpx.Proxy | None = None) -> None:
        self._socks = proxy if proxy is not None and is_socks(proxy.url) else None
        self._resolver = GuardedResolver(guard, proxy.url.host if proxy else "")
        # A certificate is looked at where this machine can reach it.
        self._certificates = ShownCertificates(self._resolver) if proxy is None else None
        self._proxy_name = proxy.url.netloc.decode() if proxy else ""
        super().__init__(verify=context, proxy=None if self._socks else proxy, trust_env=False, client=self._session)

    def _session(self) -> aiohttp.ClientSession:
        options: dict[str, Any] = {"ssl": self.ssl_context, "limit": 0, "keepalive_timeout": 30}
        connector: aiohttp.TCPConnector
        if self._socks:
            # An extra, which need not be there.
            from imageferry.registry.http.socks import SocksConnector  # noqa: PLC0415

            connector = SocksConnector(self._socks, **options)
        else:
            connector = LenientConnector(resolver=self._resolver, **options)
        session = aiohttp.ClientSession(
            connector=connector,
            response_class=_Response,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=READ_SIZE,
            max_line_size=HEADER_LIMIT,
            max_field_size=HEADER_LIMIT,
            max_headers=HEADERS_LIMIT,
        )
        send = session.request

        def send_as_it_is(method: str, url: str, **options: Any) -> Any:
            # From a text aiohttp makes an address of its own: "a%2Fb" in a query would go out as "a/b".
            return send(method, yarl.URL(url, encoded=True), **options)

        session.request = send_as_it_is  # type: ignore[assignment,method-assign]
        return session

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the body of the answer is read in pieces of at most ``READ_SIZE`` bytes.

        Raises ``httpx.TransportError``.
        """
        try:
            response = await super().handle_async_request(request)
        except httpx.TransportError as error:
            explained = await self._explain(error, request.url)
            if explained is None:
                raise
            raise explained from error
        except aiohttp.ClientResponseError as error:
            # What aiohttp cannot read as HTTP; httpx-aiohttp lets it through.
            what = error.message.partition("\n")[0].rstrip(":")[:100]
            raise NotHttp(what) from error
        except ValueError as error:
            # An address that aiohttp cannot send to, such as one with a password when Authorization is sent.
            raise httpx.UnsupportedProtocol(str(error)) from error
        if response.status_code == httpx.codes.PROXY_AUTHENTICATION_REQUIRED and self.proxy is not None:
            await response.aclose()
            raise self._refusal(response.status_code)
        if isinstance(response.stream, AiohttpResponseStream):
            response.stream.CHUNK_SIZE = READ_SIZE
        return response

    async def _explain(self, error: httpx.TransportError, url: httpx.URL) -> httpx.TransportError | None:
        """Return an error that says more about the cause of this one; None if there is no more to say."""
        for cause in causes(error):
            if isinstance(cause, aiohttp.ClientHttpProxyError):
                return self._refusal(cause.status)
            if self._proxy_name and isinstance(cause, aiohttp.ClientProxyConnectionError):
                return ProxyFailure(self._proxy_name, f"does not answer: {describe_error(cause)}")
            if isinstance(cause, ssl.SSLCertVerificationError):
                shown = await self._certificates.look_at(url) if self._certificates else None
                return CertificateRefused(str(error), shown)
        return None

    def _refusal(self, status: int) -> ProxyFailure:
        return ProxyFailure(self._proxy_name, f"answered {status} {httpx.codes.get_reason_phrase(status)}", status)


class _Response(aiohttp.ClientResponse):
    """A response whose reason phrase, which may be in any encoding, is text."""

    async def start(self, connection: Connection) -> _Response:
        """Read the status line and the headers."""
        await super().start(connection)
        self.reason = (self.reason or "").encode(errors="replace").decode()
        return self
