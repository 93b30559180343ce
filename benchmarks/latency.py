"""A program that stands before a registry and is far away: ``python -m benchmarks.latency PORT SECONDS``.

It prints the port it listens at. Bytes arrive half a round trip after they were sent, each way, and a connection is
there one round trip after it was asked for. The bandwidth is not limited.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque

CHUNK = 262_144

# Bytes on their way in one direction of one connection.
WINDOW = 8_388_608


class _Way:
    """One direction of a connection: what was read and when it is due at the other end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
        self._reader = reader
        self._writer = writer
        self._delay = delay
        self._sent: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._ended = False

    async def carry(self) -> None:
        """Carry all bytes until the sender ends, then end the other side."""
        reading = asyncio.create_task(self._read())
        try:
            await self._write()
        finally:
            reading.cancel()
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.write_eof() if self._writer.can_write_eof() else self._writer.close()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await self._reader.read(CHUNK):
                self._sent.append((loop.time() + self._delay, data))
                self._bytes += len(data)
                self._changed.set()
                if self._bytes > WINDOW:
                    self._room.clear()
                await self._room.wait()
        self._ended = True
        self._changed.set()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._sent or not self._ended:
            if not self._sent:
                self._changed.clear()
                await self._changed.wait()
                continue
            due, data = self._sent.popleft()
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            self._writer.write(data)
            await self._writer.drain()
            self._bytes -= len(data)
            if self._bytes <= WINDOW:
                self._room.set()


async def serve(port: int, round_trip: float) -> None:
    """Stand before the port of the loopback until the process is ended."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.sleep(round_trip)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port, limit=CHUNK)
            with contextlib.closing(far_writer):
                ways = (_Way(reader, far_writer, round_trip / 2), _Way(far_reader, writer, round_trip / 2))
                await asyncio.gather(*(way.carry() for way in ways))
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=CHUNK)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
