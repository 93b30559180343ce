"""A registry whose answers are written down: every byte of status, headers and body, without a socket."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from imageferry.model import RegistryAccess
from imageferry.registry import RegistryClient, Repository
from imageferry.registry.http import client, retry
from tests.registry.opening import access

HOST = "registry.example"

Headers = Sequence[tuple[bytes, bytes]]
# Status, headers, body.
Answer = tuple[int, Headers, bytes]
Answering = Callable[[httpx.Request], Answer]


class _Body(httpx.AsyncByteStream):
    """A body in pieces."""

    def __init__(self, body: bytes, piece: int = 65_536) -> None:
        self._body, self._piece = body, piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for offset in range(0, len(self._body), self._piece):
            yield self._body[offset : offset + self._piece]


class Canned(httpx.AsyncBaseTransport):
    """Answers in place of the network, and keeps what was asked."""

    def __init__(self, answering: Answering) -> None:
        self.asked: list[httpx.Request] = []
        self._answering = answering

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.asked.append(request)
        if request.url.path == "/v2/":
            return httpx.Response(200, stream=_Body(b"{}"))
        status, headers, body = self._answering(request)
        stream = _Body(b"" if request.method == "HEAD" else body)
        return httpx.Response(status, headers=list(headers), stream=stream)


@asynccontextmanager
async def canned(
    answering: Answering, entry: RegistryAccess | None = None, path: str = "a/app"
) -> AsyncIterator[tuple[Repository, Canned]]:
    """Open a repository at ``HOST`` that is answered so; nothing is waited for."""
    network = Canned(answering)

    def in_place(*_: Any) -> Canned:
        return network

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "StreamingTransport", in_place)
        patch.setattr(retry, "_pause", lambda state: 0.0)
        async with RegistryClient(HOST, access() if entry is None else entry) as opened_client:
            yield Repository(opened_client, path, writable=True), network
