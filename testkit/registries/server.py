"""A host on the loopback: an HTTP server in a thread of its own, which can break its answers off."""

import asyncio
import logging
import socket
import ssl
import struct
import threading
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from testkit.registries.exchange import Call, ClientDisconnect, Ending, Hangup, Reply
from testkit.registries.fault_rules import FaultRules
from testkit.registries.log import Entry, Log, kind_of

_PIECE = 256 * 1024
_SILENT = logging.getLogger("testkit.registries.silent")
_SILENT.setLevel(logging.CRITICAL + 1)
_SILENT.propagate = False


class _Connection(H11Protocol):
    """Uvicorn's protocol, which lets the application reach its transport."""

    def __init__(self, config: Config, state: ServerState) -> None:
        super().__init__(config, state, {})
        self.logger = _SILENT
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.app_state = {"transport": transport}
        super().connection_made(transport)


class Host(ABC):
    """Something that answers HTTP on a port of the loopback, keeps a log and obeys rules."""

    def __init__(self, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.log = Log()
        self.rules = FaultRules()
        self.failures: list[BaseException] = []
        self._address = address
        self._tls = tls
        self._port = 0
        self._state = ServerState()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @abstractmethod
    async def answer(self, call: Call) -> Reply:
        """Answer a request that no rule answered."""

    @property
    def host(self) -> str:
        """`address:port`, as in an image's reference."""
        return f"{self._address}:{self._port}"

    @property
    def url(self) -> str:
        """The scheme and the host, without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://{self.host}"

    def count(self, *kinds: str) -> int:
        """How many requests of these kinds came in."""
        return len(self.log.entries(*kinds))

    def counts(self) -> dict[str, int]:
        """How many requests came in, by kind."""
        return self.log.counts()

    def peak(self, *kinds: str) -> int:
        """The most requests of these kinds that were under way at one time."""
        return self.log.peak(*kinds)

    def clear_log(self) -> None:
        """Forget what was asked so far."""
        self.log.clear()

    def start(self) -> None:
        """Listen. After a stop: on the same port as before."""
        # asyncio turns Nagle's algorithm off only for sockets that name TCP: else each answer waits 40 ms for an ACK.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self._address, self._port))
        listener.listen(1024)
        listener.setblocking(False)  # noqa: FBT003 - socket takes it by position alone
        self._port = listener.getsockname()[1]
        self._state = ServerState()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._loop, listener, ready), name=f"registry {self.host}", daemon=True
        )
        self._thread.start()
        ready.wait(10)

    def stop(self) -> None:
        """End every connection and stop listening."""
        if self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop = self._thread = None

    @property
    def is_stopped(self) -> bool:
        """Whether it does not listen."""
        return self._loop is None

    def drop_connections(self) -> None:
        """Close every open connection, as a server does with those that are idle."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._close_connections(), self._loop).result(10)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None and self.failures:
            raise self.failures[0]

    async def _close_connections(self) -> None:
        for connection in list(self._state.connections):
            connection.transport.close()

    def _run(self, loop: asyncio.AbstractEventLoop, listener: socket.socket, ready: threading.Event) -> None:
        asyncio.set_event_loop(loop)
        config = Config(
            self._serve,
            http=_Connection,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            timeout_keep_alive=120,
        )
        config.load()
        self._state.default_headers = []
        server = loop.run_until_complete(
            loop.create_server(lambda: _Connection(config, self._state), sock=listener, ssl=self._tls)
        )
        ready.set()
        try:
            loop.run_forever()
        finally:
            server.close()
            loop.run_until_complete(self._end())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def _end(self) -> None:
        for connection in list(self._state.connections):
            connection.transport.abort()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        path, method = scope["path"], scope["method"]
        entry = Entry(method, path, kind_of(method, path, query), headers=dict(request.headers), query=query)
        self.log.append(entry)
        call = Call(request, entry, scope["state"]["transport"])
        try:
            reply = await self.rules.apply(call, self.answer)
            await _deliver(reply, call, send)
        except Hangup as hangup:
            await _end_connection(call.transport, hangup.ending)
        except ClientDisconnect:
            pass
        except Exception as failure:
            self.failures.append(failure)
            raise
        finally:
            if entry.ended is None:
                entry.ended = time.monotonic()


async def _deliver(reply: Reply, call: Call, send: Send) -> None:
    """Send an answer, as far as its cut allows."""
    names = {name.lower() for name in reply.headers}
    headers = list(reply.headers.items())
    if not names & {"content-length", "transfer-encoding"} and reply.status >= 200 and reply.status != 204:
        headers.append(("Content-Length", str(len(reply.body))))
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    call.entry.status = reply.status
    end = len(reply.body) if reply.cut is None else min(reply.cut.after, len(reply.body))
    if call.method == "HEAD" or reply.status in (204, 304):
        end = 0
    if reply.cut is None and end == 0:
        call.entry.ended = time.monotonic()
    await send({"type": "http.response.start", "status": reply.status, "headers": raw})
    await _send_body(memoryview(reply.body)[:end], reply, call, send)
    # A stall after the last byte is none that a client sees: it would be met by the next request on this connection.
    if reply.cut is None or (reply.cut.ending == "stall" and end == len(reply.body)):
        return await send({"type": "http.response.body", "body": b"", "more_body": False})
    if reply.cut.ending == "stall":
        await _stall(call.transport, reply.cut.seconds)
    return await _end_connection(call.transport, reply.cut.ending)


async def _send_body(body: memoryview, reply: Reply, call: Call, send: Send) -> None:
    """Send a body in pieces, as slowly as the answer wants it."""
    rate = reply.bytes_per_second
    step = _PIECE if rate is None else max(1, min(_PIECE, int(rate / 20)))
    for offset in range(0, len(body), step):
        piece = bytes(body[offset : offset + step])
        if rate is not None:
            await asyncio.sleep(len(piece) / rate)
        call.entry.bytes_out += len(piece)
        if reply.cut is None and offset + step >= len(body):
            call.entry.ended = time.monotonic()
        await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _stall(transport: asyncio.Transport, seconds: float) -> None:
    """Send nothing for a while, or until the client goes away."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not transport.is_closing():
        await asyncio.sleep(0.02)


async def _end_connection(transport: asyncio.Transport, ending: Ending) -> None:
    """End a connection with what was written so far: with a FIN or, for `reset`, with an RST."""
    while transport.get_write_buffer_size() and not transport.is_closing():
        await asyncio.sleep(0.001)
    if ending != "reset":
        transport.close()
        return
    await asyncio.sleep(0.02)
    connection: Any = transport.get_extra_info("socket")
    if connection is not None and connection.fileno() != -1:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
