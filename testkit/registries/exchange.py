"""One request as the in-process registry sees it, and the answer to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Literal

from starlette.requests import ClientDisconnect, Request

from testkit.registries.log import Entry, Route, route_of

Ending = Literal["close", "reset", "stall"]


class Hangup(Exception):
    """The connection ends here, without an answer."""

    def __init__(self, ending: Ending = "close") -> None:
        super().__init__(ending)
        self.ending: Ending = ending


@dataclass(frozen=True)
class Cut:
    """A body that stops after some bytes, whatever Content-Length said."""

    after: int
    ending: Ending
    seconds: float = 3600.0


@dataclass
class Reply:
    """An answer. Content-Length is that of the body unless a header says otherwise."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: Cut | None = None
    bytes_per_second: float | None = None

    def drop(self, name: str) -> None:
        """Take a header away, whatever its case."""
        for key in [key for key in self.headers if key.lower() == name.lower()]:
            del self.headers[key]

    def set(self, name: str, value: str) -> None:
        """Put a header in place of any of that name."""
        self.drop(name)
        self.headers[name] = value


def error(status: int, code: str, message: str = "", headers: dict[str, str] | None = None) -> Reply:
    """Make an answer with the body that the specification gives to errors."""
    document = {"errors": [{"code": code, "message": message or code.lower().replace("_", " ")}]}
    return Reply(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(document).encode())


class Call:
    """A request under way."""

    def __init__(self, request: Request, entry: Entry, transport: asyncio.Transport) -> None:
        self.request = request
        self.entry = entry
        self.transport = transport
        self.route: Route = route_of(entry.path)
        self.hang_up_after: int | None = None
        self.hang_up_ending: Ending = "reset"
        self.idle_seconds: float | None = None
        self.pause: Callable[[], float] | None = None

    @property
    def method(self) -> str:
        """The method, in capitals."""
        return self.entry.method

    @property
    def path(self) -> str:
        """The path without its query."""
        return self.entry.path

    @property
    def kind(self) -> str:
        """The kind that the log gives it."""
        return self.entry.kind

    @property
    def repository(self) -> str:
        """The repository that the path names."""
        return self.route.repository

    @property
    def reference(self) -> str:
        """The tag, digest or upload session that the path names."""
        return self.route.reference

    def header(self, name: str) -> str | None:
        """One header of the request."""
        return self.request.headers.get(name)

    def query(self, name: str) -> str | None:
        """The first value of a query's parameter."""
        return self.request.query_params.get(name)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Read the body; `Hangup` where a rule breaks it off, `ClientDisconnect` where the client did."""
        stream = self.request.stream()
        while True:
            try:
                chunk = await asyncio.wait_for(anext(stream, None), self.idle_seconds)
            except TimeoutError:
                raise Hangup("close") from None
            if chunk is None:
                return
            if self.pause is not None:
                await asyncio.sleep(self.pause())
            if self.hang_up_after is not None:
                chunk = chunk[: self.hang_up_after - self.entry.bytes_in]
            self.entry.bytes_in += len(chunk)
            if chunk:
                yield chunk
            if self.hang_up_after is not None and self.entry.bytes_in >= self.hang_up_after:
                raise Hangup(self.hang_up_ending)

    async def body(self) -> bytes:
        """Read the whole body."""
        return b"".join([chunk async for chunk in self.chunks()])


__all__ = ["Call", "ClientDisconnect", "Cut", "Ending", "Hangup", "Reply", "error"]
