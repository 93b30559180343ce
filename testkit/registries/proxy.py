"""A forward proxy on the loopback, which knows names that nobody else resolves."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from testkit.registries.loopback import serving


class Proxy:
    """Forwards requests and tunnels. `routes` says where a name leads; `asked` is what came in, in order."""

    def __init__(self, routes: dict[str, str], password: str | None = None) -> None:
        self.routes = routes
        self.asked: list[str] = []
        self.address = ""
        self._expected = None if password is None else b"Basic " + b64encode(password.encode())

    @property
    def url(self) -> str:
        """The proxy's own address."""
        return f"http://{self.address}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, for one request."""
        try:
            await self._forward(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        method, target = first.decode().split()[:2]
        self.asked.append(f"{method} {target}")
        if self._expected is not None and b"proxy-authorization: " + self._expected not in [
            line.partition(b":")[0].lower() + b":" + line.partition(b":")[2] for line in lines
        ]:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        place = target if method == "CONNECT" else urlsplit(target).netloc
        address, _, port = self.routes.get(place, place).rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(address, int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            where = urlsplit(target)
            path = where.path + (f"?{where.query}" if where.query else "")
            kept = [line for line in lines if not line.lower().startswith((b"proxy-", b"connection:"))]
            far_writer.write(
                b"\r\n".join([f"{method} {path} HTTP/1.1".encode(), *kept, b"Connection: close", b"", b""])
            )
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@asynccontextmanager
async def running(routes: dict[str, str], password: str | None = None) -> AsyncIterator[Proxy]:
    """Run a proxy in the test's own event loop."""
    proxy = Proxy(routes, password)
    async with serving(proxy.serve) as proxy.address:
        yield proxy
