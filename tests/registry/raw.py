"""A server that answers whatever is asked with the same bytes, HTTP or not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import repeat

from imageferry.registry import Repository
from testkit.registries.loopback import serving
from tests.registry.opening import opened

PING = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


# The first byte of a TLS handshake (RFC 8446, 5.1).
TLS = b"\x16"


def answer(status: bytes = b"200 OK", headers: bytes = b"", body: bytes = b"{}") -> bytes:
    """Make an answer; headers end with a line break each."""
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), headers, body)


@asynccontextmanager
async def answering(raw: bytes, then: bytes = b"", ping: bytes | None = PING) -> AsyncIterator[Repository]:
    """Open a repository of a server that sends ``raw``, then ``then`` without end; with a ping it answers that well."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                # Who asks in TLS whether it is spoken would wait for long.
                while (first := await reader.readexactly(1)) != TLS:
                    head = first + await reader.readuntil(b"\r\n\r\n")
                    pinging = ping is not None and head.startswith(b"GET /v2/ ")
                    writer.write(ping if pinging else raw)  # type: ignore[arg-type]
                    await writer.drain()
                    for piece in repeat(then) if then and not pinging else ():
                        writer.write(piece)
                        await writer.drain()
        finally:
            writer.transport.abort()

    async with serving(serve) as host, opened(host, writable=True) as repository:
        yield repository
