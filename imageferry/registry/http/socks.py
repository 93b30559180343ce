"""SOCKS proxies, which aiohttp does not speak: by aiohttp-socks, an extra that not every machine has.

This module is imported when a request is to go through such a proxy, not before.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyTimeoutError, ProxyType

from imageferry.registry.http.response_handler import HeadHabit, LenientResponseHandler
from imageferry.registry.transport_errors import ProxyFailure


class SocksConnector(ProxyConnector):
    """Connects through a SOCKS proxy, which resolves the names, and reads answers leniently."""

    def __init__(self, proxy: httpx.Proxy, **options: Any) -> None:
        username, password = proxy.auth or (None, None)
        super().__init__(
            proxy.url.host, proxy.url.port or 1080, ProxyType.SOCKS5, username, password, rdns=True, **options
        )
        self._name = proxy.url.netloc.decode()
        self._lenient = functools.partial(LenientResponseHandler, loop=self._loop, habit=HeadHabit())

    async def _wrap_create_connection(self, *arguments: Any, **named: Any) -> tuple[asyncio.Transport, ResponseHandler]:
        """Connect. Raises ``ProxyFailure``, ``ssl.SSLError`` and ``OSError``."""
        try:
            transport, first = await super()._wrap_create_connection(*arguments, **named)
        except (ProxyConnectionError, ProxyTimeoutError) as error:
            raise ProxyFailure(self._name, f"does not answer: {error}") from error
        except ProxyError as error:
            raise ProxyFailure(self._name, f"refuses: {error}") from error
        protocol = self._lenient()
        # It keeps the stream, which would close the connection with it.
        protocol.before = first
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        return transport, protocol
