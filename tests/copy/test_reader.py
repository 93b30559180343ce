"""The arithmetic of ranges: however a source breaks off, the bytes given out are the blob's, each once."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imageferry.copy.reader import BlobReader
from imageferry.copy.retries import READ_BREAKS
from imageferry.errors import ImageferryError
from imageferry.registry import Descriptor, Repository
from imageferry.registry.errors import Unreachable
from imageferry.registry.http import client, retry
from tests.registry.canned import HOST
from tests.registry.opening import opened


class Manner(NamedTuple):
    """How one request is answered: whether Range is honoured, how far off it is, and after how many bytes it ends."""

    ranges: bool = True
    off: int = 0
    header: bool = True
    after: int | None = None
    clean: bool = False


class Source(httpx.AsyncBaseTransport):
    """Serves a blob in these manners, the last for ever; `asked` are the offsets."""

    def __init__(self, blob: bytes, manners: list[Manner], piece: int) -> None:
        self.asked: list[int] = []
        self._blob, self._manners, self._piece = blob, manners, piece

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        if request.url.path == "/v2/":
            return httpx.Response(200, content=b"{}")
        wanted = int(request.headers.get("range", "bytes=0-")[6:-1])
        manner = self._manners[min(len(self.asked), len(self._manners) - 1)]
        self.asked.append(wanted)
        if not wanted or not manner.ranges:
            return httpx.Response(200, stream=_Body(self._blob, manner, self._piece))
        start = max(0, wanted + manner.off)
        headers = {"content-range": f"bytes {start}-{len(self._blob) - 1}/{len(self._blob)}"} if manner.header else {}
        return httpx.Response(206, headers=headers, stream=_Body(self._blob[start:], manner, self._piece))


class _Body(httpx.AsyncByteStream):
    def __init__(self, body: bytes, manner: Manner, piece: int) -> None:
        self._body, self._manner, self._piece = body, manner, piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = self._body[: self._manner.after]
        for offset in range(0, len(body), self._piece):
            yield body[offset : offset + self._piece]
        if len(body) < len(self._body) and not self._manner.clean:
            raise httpx.ReadError("broken off")


@asynccontextmanager
async def served(source: Source) -> AsyncIterator[Repository]:
    """Open a repository that is served so."""

    def in_place(*_: Any, **__: Any) -> Source:
        return source

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "StreamingTransport", in_place)
        patch.setattr(retry, "_pause", lambda state: 0.0)
        async with opened(HOST) as repository:
            yield repository


MANNERS = st.lists(
    st.builds(
        Manner,
        ranges=st.booleans(),
        off=st.sampled_from([0, 0, 0, 0, 1, -1, 7]),
        header=st.just(value=True),
        after=st.none() | st.integers(0, 60),
        clean=st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=100), MANNERS, st.integers(1, 40))
@example(b"0123456789", [Manner(after=4), Manner(off=1)], 3)
@example(b"0123456789", [Manner(after=4), Manner(ranges=False)], 3)
@example(b"0123456789", [Manner(after=4, clean=True), Manner(after=0)], 3)
@example(b"", [Manner()], 1)
async def test_the_bytes_are_the_blobs_or_there_is_an_error(blob: bytes, manners: list[Manner], piece: int) -> None:
    source = Source(blob, manners, piece)
    given_out = b""
    words = ""
    async with served(source) as repository:
        reader = BlobReader([repository], Descriptor("", f"sha256:{hashlib.sha256(blob).hexdigest()}", len(blob)))
        try:
            async for each in reader.pieces():
                given_out += each
        except ImageferryError as error:
            words = str(error)
    assert blob.startswith(given_out)
    assert words.startswith("cannot read blob") if words else given_out == blob
    # Each request asks for the byte after those that were given out, and so many in a row may bring none.
    assert source.asked == sorted(source.asked)
    assert all(source.asked.count(offset) <= READ_BREAKS + 1 for offset in source.asked)


@settings(deadline=None, max_examples=60)
@given(st.binary(min_size=1, max_size=60), st.integers(0, 59), st.integers(1, 255))
async def test_bytes_that_are_not_the_blobs_are_an_error(blob: bytes, position: int, bits: int) -> None:
    wrong = bytearray(blob)
    wrong[position % len(blob)] ^= bits
    async with served(Source(bytes(wrong), [Manner()], 9)) as repository:
        reader = BlobReader([repository], Descriptor("", f"sha256:{hashlib.sha256(blob).hexdigest()}", len(blob)))
        with pytest.raises(ImageferryError, match="do not hash to its digest"):
            _ = [piece async for piece in reader.pieces()]


@pytest.mark.parametrize(("each", "goes_on"), [(10_000, False), (30_000, True)])
async def test_a_source_that_trickles_over_many_connections_is_too_slow(each: int, goes_on: bool) -> None:
    blob = bytes(100) * 5_000
    now = 0.0

    class Slow(httpx.AsyncByteStream):
        def __init__(self, body: bytes) -> None:
            self._body = body

        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal now
            now += 20.0
            yield self._body[:each]
            raise httpx.ReadError("broken off")

    class Trickling(Source):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await super().handle_async_request(request)
            if request.url.path != "/v2/":
                answer.stream = Slow(blob[self.asked[-1] :])
            return answer

    source = Trickling(blob, [Manner()], 1)
    async with served(source) as repository:
        reader = BlobReader([repository], Descriptor("", f"sha256:{hashlib.sha256(blob).hexdigest()}", len(blob)))
        reader.clock = lambda: now
        if goes_on:
            assert b"".join([piece async for piece in reader.pieces()]) == blob
            return
        with pytest.raises(Unreachable, match=r"only 40,000 bytes came in 80 s over several connections, the last"):
            async for _ in reader.pieces():
                pass
    # A minute, and the breaks that are allowed without progress.
    assert len(source.asked) == 3 + READ_BREAKS - 2


async def test_the_wait_for_a_head_counts_as_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    blob = bytes(100)
    now = 0.0

    class Waiting(Source):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal now
            now += 50.0
            return await super().handle_async_request(request)

    monkeypatch.setattr(retry, "time", SimpleNamespace(monotonic=lambda: now))
    source = Waiting(blob, [Manner(after=1)], 1)
    async with served(source) as repository:
        reader = BlobReader([repository], Descriptor("", f"sha256:{hashlib.sha256(blob).hexdigest()}", len(blob)))
        with pytest.raises(Unreachable, match="over several connections"):
            async for _ in reader.pieces():
                pass
    assert len(source.asked) == 2 + READ_BREAKS - 2
