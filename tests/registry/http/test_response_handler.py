"""Answers that Go's client reads: odd heads, and bodies where none belongs."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from imageferry.registry import Repository
from imageferry.registry.errors import InvalidResponse
from imageferry.registry.http.response_handler import HEADER_LIMIT
from testkit.images.documents import sha256
from testkit.registries.loopback import serving
from tests.registry.opening import opened
from tests.registry.raw import TLS, answer, answering

TAGS = b'{"tags": ["a"]}'
LENGTH = b"Content-Length: %d\r\n" % len(TAGS)
DIGEST = sha256(b"{}")
HEAD_HEADERS = b"Docker-Content-Digest: %s\r\n" % DIGEST.encode()
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        answer(headers=b"Content-Security-Policy: " + b"y" * 12_288 + b"\r\n", body=TAGS),
        answer(headers=b"".join(b"X-%d: y\r\n" % number for number in range(200)), body=TAGS),
        OK + LENGTH + LENGTH + b"\r\n" + TAGS,
        OK + LENGTH + b"X: y\r\n" + LENGTH.lower().replace(b": ", b":  ") + b"\r\n" + TAGS,
        OK + LENGTH.replace(b"\r\n", b", %d\r\n" % len(TAGS)) + b"\r\n" + TAGS,
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nf\r\n" + TAGS + b"\r\n0\r\n\r\n",
        OK.replace(b"\r", b"") + LENGTH.replace(b"\r", b"") + b"\n" + TAGS,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer(body=TAGS),
        answer(body=TAGS) + b"more than was announced",
    ],
    ids=[
        *("12 KiB", "200 headers", "length twice", "length twice, apart", "a list of lengths", "length and chunks"),
        *("bare line feeds", "1xx before", "more bytes"),
    ],
)
async def test_what_go_reads_is_read(raw: bytes) -> None:
    async with answering(raw) as repository:
        assert await repository.tags.all() == ["a"]
        assert await repository.tags.all() == ["a"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (OK + LENGTH + b"Content-Length: 5\r\n\r\n" + TAGS, "Duplicate Content-Length"),
        (answer(headers=b"X: " + b"y" * 2 * HEADER_LIMIT + b"\r\n", body=TAGS), "more than 65536 bytes"),
        (answer(headers=b"X Y: b\r\n", body=TAGS), "Invalid header token"),
    ],
)
async def test_what_is_no_http_is_reported_as_that_at_once(raw: bytes, words: str, pauses: list[float]) -> None:
    async with answering(raw) as repository:
        with pytest.raises(InvalidResponse, match=rf"127.0.0.1:\d+ was reached, .*is not valid HTTP: .*{words}"):
            await repository.tags.all()
    assert pauses == []


class Serving:
    """A server whose answers to HEAD may have a body, and the connections that were made to it."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.connections = 0
        self.requests: list[bytes] = []


@asynccontextmanager
async def stray(raw: bytes, body: bytes, *, after: asyncio.Event | None = None) -> AsyncIterator[Serving]:
    """Answer every HEAD with ``raw``, and with a body that follows at once or when the event is set; GET with tags."""
    server = Serving("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            # Who asks in TLS whether it is spoken would wait for long.
            while (first := await reader.readexactly(1)) != TLS:
                head = first + await reader.readuntil(b"\r\n\r\n")
                server.requests.append(head.partition(b" HTTP")[0])
                if not head.startswith(b"HEAD"):
                    writer.write(answer(body=TAGS))
                elif after is None:
                    writer.write(raw + body)
                else:
                    writer.write(raw)
                    await after.wait()
                    writer.write(body)
                await writer.drain()
        writer.transport.abort()

    async with serving(serve) as server.host:
        yield server


Asking = Callable[[Repository], Awaitable[object]]


@pytest.mark.parametrize("length", [b"7", b"0", None])
async def test_a_head_with_a_body_costs_a_connection_and_nothing_else(length: bytes | None) -> None:
    framing = b"" if length is None else b"Content-Length: %s\r\n" % length
    async with stray(OK + HEAD_HEADERS + framing + b"\r\n", b'{"a":1}') as server:
        async with opened(server.host) as repository:
            began = time.monotonic()
            for _ in range(3):
                found = await repository.manifests.head("v1")
                assert found is not None
                assert found.digest == DIGEST
                assert await repository.tags.all() == ["a"]
            assert time.monotonic() - began < 5
        heads = [each for each in server.requests if each.startswith(b"HEAD")]
        assert len(heads) == 3
        assert server.connections < 8


async def test_a_body_that_comes_later_harms_no_other_request(pauses: list[float]) -> None:
    late = asyncio.Event()
    async with (
        stray(OK + HEAD_HEADERS + b"Content-Length: 7\r\n\r\n", b'{"a":1}', after=late) as server,
        opened(server.host) as repository,
    ):
        assert await repository.manifests.head("v1")
        asking = asyncio.create_task(repository.tags.all())
        # It is on the connection of the HEAD, whose body comes in place of its answer.
        await asyncio.sleep(0.02)
        late.set()
        assert await asking == ["a"]
        for _ in range(3):
            assert await repository.manifests.head("v1")
            assert await repository.tags.all() == ["a"]
    assert pauses == []


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_body_where_the_status_has_none_is_dropped_too(status: bytes, pauses: list[float]) -> None:
    raw = b"HTTP/1.1 %s\r\nContent-Length: 4\r\n\r\nbody" % status
    async with answering(raw) as repository:
        for _ in range(2):
            with pytest.raises(InvalidResponse, match=f"answered {status[:3].decode()}, expected 200"):
                await repository.manifests.get("v1")
    assert pauses == []


async def test_a_head_in_pieces_is_put_together() -> None:
    whole = OK + LENGTH + LENGTH + b"\r\n" + TAGS

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readexactly(1) != TLS:
                await reader.readuntil(b"\r\n\r\n")
                for start in range(0, len(whole), 7):
                    writer.write(whole[start : start + 7])
                    await writer.drain()
                    await asyncio.sleep(0)
        writer.transport.abort()

    async with serving(serve) as host, opened(host) as repository:
        assert await repository.tags.all() == ["a"]
        assert await repository.tags.all() == ["a"]
