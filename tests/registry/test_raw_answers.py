"""Bytes on the wire that are no HTTP, or are HTTP without end."""

import asyncio
import tracemalloc

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from imageferry.errors import ImageferryError
from imageferry.registry import Repository
from imageferry.registry.errors import InvalidResponse, NotFound, RegistryError
from imageferry.text import escape_control
from tests.registry.raw import answer, answering

DIGEST = "sha256:" + "0" * 64
ENDLESS = b"HTTP/1.1 %s\r\nContent-Length: 999999999999\r\nLocation: /elsewhere\r\n\r\n"
PIECE = b"x" * 65_536

LINES = st.sampled_from(
    [b"HTTP/1.1 200 OK", b"HTTP/1.1 404 Pas trouv\xe9", b"HTTP/9.9 1 x", b"HTTP/1.1 -1 x", b"garbage", b"\x00", b"",
     b"Content-Length: 5", b"Content-Length: -5", b"Content-Length: 9999999999999999999999", b"Content-Length: \xb2",
     b"Transfer-Encoding: chunked", b"Transfer-Encoding: x", b"zz", b"5\r\nhello", b"0\r\n", b": x",
     b"X: " + b"y" * 9000, b"Location: //", b"Location: http://a..b/", b"Connection: close",
     b"Content-Encoding: gzip", b"{}"]
)  # fmt: skip


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES | st.binary(max_size=12), max_size=7).map(b"\r\n".join), st.booleans())
@example(b"HTTP/1.1 404 Pas trouv\xe9\r\nContent-Length: 0", False)
@example(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 9000, False)
async def test_any_bytes(raw: bytes, on_ping: bool) -> None:
    async with answering(raw + b"\r\n\r\n", ping=None if on_ping else answer()) as repository:
        with pytest.MonkeyPatch.context() as patch:
            # A head that does not end is not waited for as long as a registry is.
            patch.setattr(repository.client._client, "timeout", 0.2)
            async with asyncio.timeout(60):
                try:
                    await repository.manifests.get("v1")
                except ImageferryError as error:
                    words = str(error)
                else:
                    words = ""
    assert escape_control(words) == words


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"garbage\r\n\r\n", "was reached, but its answer is not valid HTTP: Bad status line"),
        (answer(headers=b"X: " + b"y" * 70_000 + b"\r\n"), "answer is not valid HTTP: Got more than 65536 bytes"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            "is not valid HTTP: Invalid character in Content-Length",
        ),
        (answer(b"404 Pas trouv\xe9"), "answered 404 Pas trouv?"),
        (answer(b"404 x\x1b[2J"), "answered 404 x\\x1b[2J"),
        (answer(b"403 " + b"x" * 8000), "answered 403 " + "x" * 100 + ";"),
        (answer(b"307 x", b"Location: http://a..b/\r\n"), "no answer from a..b: its name does not resolve"),
        (answer(b"307 x", b"Location: https://xn--99999999/\r\n"), "leads to an address that is none"),
    ],
)
async def test_what_came_is_told(raw: bytes, words: str) -> None:
    async with answering(raw) as repository:
        with pytest.raises(RegistryError) as told:
            await repository.manifests.get("v1")
    assert words in str(told.value)


async def _read(repository: Repository) -> None:
    async with repository.blobs.open(DIGEST):
        pass


@pytest.mark.parametrize("status", [b"404 Not Found", b"307 Elsewhere", b"500 No"])
async def test_an_answer_without_end_to_a_read_is_not_read_to_its_end(status: bytes) -> None:
    tracemalloc.start()
    try:
        async with answering(ENDLESS % status, PIECE) as repository, asyncio.timeout(60):
            with pytest.raises(RegistryError):
                await _read(repository)
        assert tracemalloc.get_traced_memory()[1] < 32 * 1024 * 1024
    finally:
        tracemalloc.stop()


async def test_a_ping_without_end_is_not_read_to_its_end() -> None:
    async with answering(ENDLESS % b"404 Not Found", PIECE, ping=None) as repository, asyncio.timeout(60):
        with pytest.raises(NotFound):
            await repository.manifests.get("v1")


async def test_a_server_of_something_else_is_told() -> None:
    async with answering(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", ping=None) as repository:
        with pytest.raises(InvalidResponse, match=r"was reached, but its answer is not valid HTTP.*check its port"):
            await repository.manifests.get("v1")
