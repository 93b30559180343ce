"""Answers that Go's client reads and aiohttp's parser refuses: mended before the parser sees them.

A head with several equal Content-Length, or with one beside Transfer-Encoding, is a head with one framing (RFC 9112,
6.3). A body after an answer that has none (to HEAD, 204, 304), or bytes after the end of one, cost the connection and
not the answer.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

# Bytes of one header, and headers of one answer: Go takes 10 MiB of them.
HEADER_LIMIT = 64 * 1024
HEADERS_LIMIT = 256

# Bytes of a head that are looked at before the parser has them.
_HEAD_LIMIT = 1024 * 1024

_FIELD = re.compile(rb"^(content-length|transfer-encoding)[ \t]*:[ \t]*([^\r\n]*?)[ \t]*\r?\n", re.I | re.M)
_STATUS = re.compile(rb"HTTP/\d\.\d +(\d{3})")
_BODILESS = frozenset({204, 304})


@dataclass(slots=True)
class HeadHabit:
    """Whether bodies have come after answers to HEAD: their connections are not used again then."""

    has_body: bool = False


class _Stage(Enum):
    # A head is awaited; a body of known length; what the parser frames itself; nothing more.
    HEAD = auto()
    BODY = auto()
    FRAMED = auto()
    END = auto()


class LenientResponseHandler(ResponseHandler):
    """aiohttp's protocol of one connection, with the heads of answers made regular."""

    def __init__(self, loop: Any, habit: HeadHabit) -> None:
        super().__init__(loop)
        self._habit = habit
        self._stage = _Stage.FRAMED
        self._head = bytearray()
        self._left = 0
        self._bodiless = False
        self._used = False
        # A protocol that had the connection before this one.
        self.before: ResponseHandler | None = None

    def set_response_params(self, **params: Any) -> None:
        """Await the answer to another request."""
        self._used = self._used or self._stage is not _Stage.FRAMED
        self._bodiless = bool(params.get("skip_payload"))
        self._stage = _Stage.HEAD
        self._head.clear()
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Pass on what belongs to the answer."""
        if not data or self._stage is _Stage.FRAMED:
            super().data_received(data)
        elif self._stage is _Stage.HEAD:
            self._take_head(data)
        else:
            self._take_body(data)

    def _take_head(self, data: bytes) -> None:
        searched = max(0, len(self._head) - 3)
        self._head += data
        if not self._head[:2].strip():
            self._head = self._head.lstrip(b"\r\n")
        if not self._head.startswith(b"HTTP/"[: len(self._head)]):
            self._refuse()
            return
        end = _end_of_head(self._head, searched)
        if end < 0:
            if len(self._head) > _HEAD_LIMIT:
                self._pass_on()
            return
        head, rest = bytes(self._head[:end]), bytes(self._head[end:])
        self._head.clear()
        status = _STATUS.match(head)
        if status is not None and status[1].startswith(b"1") and status[1] != b"101":
            # Another head follows.
            super().data_received(head)
        elif status is None or status[1] == b"101":
            self._stage = _Stage.FRAMED
            super().data_received(head)
        else:
            head, length = _regular(head)
            self._begin_body(int(status[1]), length)
            super().data_received(head)
        if rest:
            self.data_received(rest)

    def _begin_body(self, status: int, length: int | None) -> None:
        if self._bodiless or status in _BODILESS:
            self._stage = _Stage.END
            if self._bodiless and self._habit.has_body:
                self.force_close()
        elif length is None:
            self._stage = _Stage.FRAMED
        else:
            self._left = length
            self._stage = _Stage.BODY if length else _Stage.END

    def _take_body(self, data: bytes) -> None:
        wanted = data[: self._left] if len(data) > self._left else data
        self._left -= len(wanted)
        if not self._left:
            self._stage = _Stage.END
        if wanted:
            super().data_received(wanted)
        if len(data) > len(wanted):
            # More than was announced: the connection is out of step, the answer is not.
            self._habit.has_body = self._habit.has_body or self._bodiless
            self._drop()

    def _refuse(self) -> None:
        """Handle what is no head: perhaps what an answer before this one left behind."""
        if not self._used:
            self._pass_on()
            return
        self._habit.has_body = True
        self._drop()
        # aiohttp asks again on another connection.
        self.set_exception(aiohttp.ServerDisconnectedError("bytes of another answer came"))

    def _pass_on(self) -> None:
        """Leave it to the parser to say what is wrong."""
        self._stage = _Stage.FRAMED
        data = bytes(self._head)
        self._head.clear()
        super().data_received(data)

    def _drop(self) -> None:
        self._stage = _Stage.END
        self.force_close()
        if self.transport is not None:
            self.transport.close()


class LenientConnector(aiohttp.TCPConnector):
    """Connects as aiohttp does, with a protocol that reads answers leniently."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        factory: Any = functools.partial(LenientResponseHandler, loop=self._loop, habit=HeadHabit())
        self._factory = factory


def _end_of_head(head: bytearray, start: int) -> int:
    """Return where a head ends (its empty line included), or -1."""
    ends = [found + len(mark) for mark in (b"\n\r\n", b"\n\n") if (found := head.find(mark, start)) >= 0]
    return min(ends, default=-1)


def _regular(head: bytes) -> tuple[bytes, int | None]:
    """Return the head with one framing, and the length of its body in bytes; None if it is framed otherwise."""
    fields = [(found, found[1].lower(), found[2]) for found in _FIELD.finditer(head)]
    lengths = [(found, value) for found, name, value in fields if name == b"content-length"]
    chunked = [value for _, name, value in fields if name == b"transfer-encoding"]
    values = {each.strip() for _, value in lengths for each in value.split(b",")}
    if chunked and b"chunked" in chunked[-1].lower():
        kept: bytes | None = None
    elif len(values) == 1 and not chunked and (value := next(iter(values))).isdigit() and len(value) < 19:
        kept = b"Content-Length: " + value + b"\r\n"
    else:
        # None, or what the parser refuses.
        return head, None
    if len(lengths) > 1 or (lengths and (kept is None or b"," in lengths[0][1])):
        for found, _ in reversed(lengths):
            head = head[: found.start()] + head[found.end() :]
        after_status = head.index(b"\n") + 1
        head = head[:after_status] + (kept or b"") + head[after_status:]
    return head, None if kept is None else int(next(iter(values)))
