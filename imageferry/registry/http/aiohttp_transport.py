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

from imageferry.registry.http.internal_hosts import GuardedResolver

# How much of a blob is read at once, in bytes: aiohttp's default of 16 KiB costs twice the CPU.
READ_SIZE = 1024 * 1024


class StreamingTransport(AiohttpTransport):
    """Sends requests to ``registry`` (host, with or without a port), and to where it redirects, through ``proxy``."""

    def __init__(self, context: ssl.SSLContext, registry: str, proxy: httpx.Proxy | None = None) -> None:
        super().__init__(verify=context, proxy=proxy, trust_env=False, client=self._session)
        self._registry = registry

    def _session(self) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self.ssl_context,
                limit=0,
                keepalive_timeout=30,
                resolver=GuardedResolver(self._registry, self.proxy.url.host if self.proxy else ""),
            ),
            response_class=_Response,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=READ_SIZE,
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
        except aiohttp.ClientResponseError as error:
            # What aiohttp cannot read as HTTP; httpx-aiohttp lets it through.
            what = error.message.partition("\n")[0].rstrip(":")[:100]
            raise httpx.RemoteProtocolError(f"what came is no HTTP ({what})") from error
        except ValueError as error:
            # An address that aiohttp cannot send to, such as one with a password when Authorization is sent.
            raise httpx.UnsupportedProtocol(str(error)) from error
        if isinstance(response.stream, AiohttpResponseStream):
            response.stream.CHUNK_SIZE = READ_SIZE
        return response


class _Response(aiohttp.ClientResponse):
    """A response whose reason phrase, which may be in any encoding, is text."""

    async def start(self, connection: Connection) -> _Response:
        """Read the status line and the headers."""
        await super().start(connection)
        self.reason = (self.reason or "").encode(errors="replace").decode()
        return self
