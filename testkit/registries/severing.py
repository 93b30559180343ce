"""A forwarder before a registry that severs a connection when enough has gone through it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from testkit.registries.loopback import serving


@dataclass
class Severing:
    """Forwards connections to `target`. Each of `cuts` resets one, once so many bytes were sent through it."""

    target: str
    cuts: list[int] = field(default_factory=list)
    forwarded: int = 0
    """Bytes that clients have sent and that went on to the target."""
    host: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        address, _, port = self.target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(address, int(port))
        back = asyncio.create_task(self._back(far_reader, writer))
        try:
            await self._forth(reader, writer, far_writer)
        except OSError:
            pass
        finally:
            back.cancel()
            far_writer.close()
            writer.close()

    async def _forth(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far_writer: asyncio.StreamWriter
    ) -> None:
        through = 0
        while data := await reader.read(65_536):
            cut = self.cuts and through + len(data) >= self.cuts[0]
            if cut:
                data = data[: self.cuts.pop(0) - through]
            through += len(data)
            self.forwarded += len(data)
            far_writer.write(data)
            await far_writer.drain()
            if cut:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def severing(target: str, *cuts: int) -> AsyncIterator[Severing]:
    """Run a forwarder in the test's own event loop."""
    forwarder = Severing(target, list(cuts))
    async with serving(forwarder.serve) as forwarder.host:
        yield forwarder
