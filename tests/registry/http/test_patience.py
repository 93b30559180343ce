"""Answers that come, but too slowly."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import httpx
import pytest

from imageferry.copy.reader import BlobReader
from imageferry.model import Limits
from imageferry.registry import Descriptor, Repository
from imageferry.registry.errors import TooSlow, Unreachable
from imageferry.registry.http import patience
from imageferry.registry.http.patience import AnswerDeadline, LeastRateBody
from imageferry.registry.limits.registry_limits import RegistryLimits
from imageferry.registry.transport_errors import SlowAnswer
from testkit.images.documents import sha256
from testkit.registries.loopback import serving
from tests.registry.opening import access, opened
from tests.registry.raw import answer

BLOB = bytes(range(256)) * 40
DIGEST = sha256(BLOB)
HEAD = b"HTTP/1.1 200 OK\r\n"
PATIENCE = 0.15


def dripping(piece: bytes, before: bytes = b"") -> AsyncIterator[bytes]:
    """Send a piece, one byte at least, again and again, at short intervals and for ever."""

    async def drip() -> AsyncIterator[bytes]:
        yield before
        while True:
            yield piece
            await asyncio.sleep(PATIENCE / 10)

    return drip()


@asynccontextmanager
async def slow(
    reply: Callable[[str, str], bytes | AsyncIterator[bytes]], limits: RegistryLimits | None = None
) -> AsyncIterator[tuple[Repository, list[str]]]:
    """Open a repository of a server that sends some answers byte by byte; yield what it was asked too."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while (first := await reader.readexactly(1)) != b"\x16":
                    head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
                    method, target, _ = head.partition("\r\n")[0].split(" ")
                    length = [line for line in head.split("\r\n") if line.lower().startswith("content-length:")]
                    await reader.readexactly(int(length[0].partition(":")[2]) if length else 0)
                    if target != "/v2/":
                        asked.append(f"{method} {target}")
                    sent = answer() if target == "/v2/" else reply(method, target)
                    if isinstance(sent, bytes):
                        writer.write(sent)
                        await writer.drain()
                    else:
                        async for piece in sent:
                            writer.write(piece)
                            await writer.drain()
        finally:
            writer.transport.abort()

    async with (
        serving(serve) as host,
        opened(host, entry=access("ferry", "secret"), writable=True, limits=limits) as repository,
    ):
        # What is found out first is not what is tested.
        await repository.client.origin("test")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(patience, "ANSWER_PATIENCE", PATIENCE)
            patch.setattr(patience, "RATE_WINDOW", PATIENCE)
            yield repository, asked


async def _upload(repository: Repository) -> None:
    upload = await repository.uploads.start(DIGEST)
    await upload.patch(_Stream([BLOB]), len(BLOB))


class _Stream(httpx.AsyncByteStream):
    """A body in pieces, with a pause before each."""

    def __init__(self, pieces: list[bytes], pause: float = 0.0) -> None:
        self._pieces, self._pause = pieces, pause

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await asyncio.sleep(self._pause)
            yield piece


ASKING: dict[str, Callable[[Repository], Awaitable[object]]] = {
    "head": lambda repository: repository.manifests.head("v1"),
    "manifest": lambda repository: repository.manifests.get("v1"),
    "tags": lambda repository: repository.tags.all(),
    "small blob": lambda repository: repository.blobs.read(DIGEST, 100_000),
    "start": lambda repository: repository.uploads.start(DIGEST),
}


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("manifest", "line"),
        ("head", "headers"),
        ("tags", "headers"),
        ("start", "headers"),
        ("manifest", "1xx"),
        ("manifest", "body"),
        ("tags", "body"),
        ("small blob", "body"),
    ],
)
async def test_a_short_answer_has_a_deadline_as_a_whole(kind: str, part: str) -> None:
    parts: dict[str, tuple[bytes, bytes]] = {
        "line": (b"x", HEAD[:-2]),
        "headers": (b"X: y\r\n", HEAD),
        "1xx": (b"HTTP/1.1 103 Early Hints\r\n\r\n", b""),
        "body": (b" ", HEAD + b"Content-Length: 99999\r\n\r\n"),
    }
    piece, before = parts[part]
    async with slow(lambda method, target: dripping(piece, before)) as (repository, asked):
        async with asyncio.timeout(30):
            with pytest.raises(TooSlow, match=r"answers too slowly: no whole answer in 0 seconds") as told:
                await ASKING[kind](repository)
    assert repository.host in str(told.value)
    # Another connection may be better, but two that are slow are enough.
    assert len(asked) == 2


async def test_a_token_server_has_a_deadline_too() -> None:
    def reply(method: str, target: str) -> bytes | AsyncIterator[bytes]:
        if target.startswith("/token"):
            return dripping(b" ", HEAD + b"Content-Length: 99999\r\n\r\n")
        return answer(b"401 No", f'WWW-Authenticate: Bearer realm="http://{host}/token"\r\n'.encode())

    host = ""
    async with slow(reply) as (repository, _):
        host = repository.host
        with pytest.raises(TooSlow, match="answers too slowly"):
            await repository.manifests.get("v1")


async def test_the_answer_to_a_stream_has_one_from_when_the_stream_is_sent() -> None:
    def reply(method: str, target: str) -> bytes | AsyncIterator[bytes]:
        if method == "POST":
            return answer(b"202 Accepted", b"Location: /up\r\n")
        return dripping(b"X: y\r\n", b"HTTP/1.1 202 Accepted\r\n") if is_slow else answer(b"202 Accepted")

    is_slow = True
    async with slow(reply) as (repository, asked):
        with pytest.raises(TooSlow):
            await _upload(repository)
        is_slow = False
        upload = await repository.uploads.start(DIGEST)
        # The stream itself takes longer than the deadline.
        await upload.patch(_Stream([b"x"] * 3, PATIENCE / 2), 3)
    assert asked == ["POST /v2/a/app/blobs/uploads/", "PATCH /up"] * 2


async def test_a_body_in_memory_may_take_as_long_as_it_does_at_the_least_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LEAST_RATE", 100.0)
    monkeypatch.setattr(patience, "ANSWER_PATIENCE", 0.05)
    async with AnswerDeadline(50):
        await asyncio.sleep(0.1)
    with pytest.raises(SlowAnswer):
        async with AnswerDeadline(0):
            await asyncio.sleep(0.1)
    # An error of its own is left as it is.
    with pytest.raises(TimeoutError, match="mine"):
        async with AnswerDeadline(0):
            raise TimeoutError("mine")


async def test_a_blob_that_comes_too_slowly_is_given_up() -> None:
    def reply(method: str, target: str) -> AsyncIterator[bytes]:
        # Honest at first, then a byte now and then.
        return dripping(b"x", HEAD + b"Content-Length: %d\r\n\r\n" % len(BLOB) + BLOB[:100])

    async with slow(reply) as (repository, asked):
        with pytest.raises(Unreachable, match=r"answers too slowly: only \d+ bytes came in \d+ seconds"):
            async for _ in BlobReader([repository], Descriptor("a/b", DIGEST, len(BLOB))).pieces():
                pass
    assert len(asked) == 3


async def test_a_blob_is_read_from_another_repository_if_one_is_too_slow() -> None:
    def drip(method: str, target: str) -> AsyncIterator[bytes]:
        return dripping(b"", HEAD + b"Content-Length: %d\r\n\r\n" % len(BLOB) + BLOB[:1])

    async with slow(drip) as (drops, _), slow(lambda method, target: answer(body=BLOB)) as (flows, _):
        reader = BlobReader([drops, flows], Descriptor("a/b", DIGEST, len(BLOB)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(drops.client._client, "timeout", httpx.Timeout(PATIENCE))
            assert b"".join([piece async for piece in reader.pieces()]) == BLOB


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which bytes are waited for; its window is the real one."""
    made = Clock()
    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=made.monotonic))
    monkeypatch.setattr(patience, "RATE_WINDOW", 60.0)
    return made


async def _read(clock: Clock, wait: float, pause: float, size: int, pieces: int) -> int:
    """Read a body whose pieces are waited for so long each, with a pause after each; give the bytes that came."""

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for _ in range(pieces):
                clock.now += wait
                yield bytes(size)

    came = 0
    async for piece in LeastRateBody(Body()):
        came += len(piece)
        clock.now += pause
    return came


async def test_a_minute_of_too_few_bytes_is_too_slow(clock: Clock) -> None:
    with pytest.raises(SlowAnswer, match="only 60 bytes came in 60 seconds"):
        await _read(clock, wait=1.0, pause=0.0, size=1, pieces=1000)
    with pytest.raises(SlowAnswer):
        await _read(clock, wait=59.0, pause=0.0, size=20_000, pieces=1000)
    # 1 kB a second is enough, for as long as it takes.
    assert await _read(clock, wait=10.0, pause=0.0, size=10_240, pieces=1000) == 10_240_000


async def test_who_pauses_is_not_held_against_the_source(clock: Clock) -> None:
    assert await _read(clock, wait=0.01, pause=300.0, size=1, pieces=1000) == 1000


async def test_a_bandwidth_is_not_held_against_the_source() -> None:
    limits = RegistryLimits(Limits(bandwidth=40_000))
    async with slow(lambda method, target: answer(body=BLOB), limits) as (repository, asked):
        reader = BlobReader([repository], Descriptor("a/b", DIGEST, len(BLOB)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(patience, "LEAST_RATE", 100_000.0)
            assert b"".join([piece async for piece in reader.pieces()]) == BLOB
    assert len(asked) == 1
