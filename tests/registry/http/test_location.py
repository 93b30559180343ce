"""Addresses that a registry gives are followed byte for byte."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from imageferry.registry import Repository
from imageferry.registry.errors import InvalidResponse
from imageferry.registry.http.location import LINK_LIMIT, append_query, next_link, read_location, resolve
from testkit.images.documents import sha256
from testkit.registries.loopback import serving
from tests.registry.opening import opened
from tests.registry.raw import answer

BLOB = b"layer"
DIGEST = sha256(BLOB)

# What signed addresses have in their queries: decoded and encoded anew, their signatures are others.
SIGNED = [
    "sig=a%2Fb",
    "sig=a%2fb%3D%3d",
    "sig=a%2Bb",
    "sig=a+b",
    "sig=a b".replace(" ", "%20"),
    "X-Amz-Credential=K%2F20260101%2Fs3%2Faws4_request&X-Amz-SignedHeaders=host",
    "sv=2024-11-04&sr=b&sig=Ab%2BC%2F%3D&se=2026-01-01T00%3A00%3A00Z",
    "a=1&a=2;b=3&empty=&=x&%7E~",
    "q=%C3%A9%E9",
    "x=50%",
]


@asynccontextmanager
async def recording(
    reply: Callable[[str, str], bytes], *, writable: bool = True
) -> AsyncIterator[tuple[Repository, list[str]]]:
    """Open a repository of a server that keeps what was asked, as it stood in the first lines of the requests."""
    targets: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while (first := await reader.readexactly(1)) != b"\x16":
                    head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                    method, target, _ = head.partition("\r\n")[0].split(" ")
                    length = [line for line in head.split("\r\n") if line.lower().startswith("content-length:")]
                    await reader.readexactly(int(length[0].partition(":")[2]) if length else 0)
                    if target != "/v2/":
                        targets.append(f"{method} {target}")
                    writer.write(answer() if target == "/v2/" else reply(method, target))
                    await writer.drain()
        finally:
            writer.transport.abort()

    async with serving(serve) as host, opened(host, writable=writable) as repository:
        yield repository, targets


def located(status: bytes, location: str) -> bytes:
    return answer(status, b"Location: " + location.encode("latin-1") + b"\r\n")


@pytest.mark.parametrize("query", SIGNED)
async def test_a_redirect_is_followed_byte_for_byte(query: str) -> None:
    target = f"/store/a%2Fb/(x)~%7e/{DIGEST}?{query}"

    def reply(method: str, asked: str) -> bytes:
        return answer(body=BLOB) if asked.startswith("/store") else located(b"307 Elsewhere", target)

    async with recording(reply) as (repository, targets):
        assert await repository.blobs.read(DIGEST, 100) == BLOB
    assert targets == [f"GET /v2/a/app/blobs/{DIGEST}", f"GET {target}"]


@pytest.mark.parametrize("query", SIGNED)
async def test_an_upload_goes_to_its_location_byte_for_byte(query: str) -> None:
    first, second = f"/up/a%2fb?{query}", f"/up/a%2fb?{query}&_state=%2B%2f"

    def reply(method: str, asked: str) -> bytes:
        return {
            "POST": located(b"202 Accepted", first),
            "PATCH": located(b"202 Accepted", second),
            "PUT": answer(b"201 Created"),
        }[method]

    async with recording(reply) as (repository, targets):
        upload = await repository.uploads.start(DIGEST)
        await upload.patch(BLOB, len(BLOB))
        await upload.commit()
    digest = DIGEST.replace(":", "%3A")
    assert targets == ["POST /v2/a/app/blobs/uploads/", f"PATCH {first}", f"PUT {second}&digest={digest}"]


@pytest.mark.parametrize("query", ["n=2&last=a%2Fb", "last=a%2fb+c&n=2", "next=%C3%A9&x=1;y", "page=%7e~"])
async def test_the_next_page_is_asked_for_byte_for_byte(query: str) -> None:
    link = f'Link: </v2/a/app/tags/list?{query}>; rel="next"\r\n'.encode()

    def reply(method: str, asked: str) -> bytes:
        return answer(headers=b"" if query in asked else link, body=b'{"tags": ["a"]}')

    async with recording(reply) as (repository, targets):
        assert await repository.tags.all() == ["a"]
    assert targets == ["GET /v2/a/app/tags/list?n=1000", f"GET /v2/a/app/tags/list?{query}"]


async def test_a_token_servers_address_keeps_its_query() -> None:
    host = ""

    def reply(method: str, asked: str) -> bytes:
        if asked.startswith("/token"):
            return answer(body=b'{"token": "t-of-many"}')
        if "t-of-many" not in tokens:
            tokens.append("t-of-many")
            return answer(b"401 No", f'WWW-Authenticate: Bearer realm="http://{host}/token?a=%2f+b"\r\n'.encode())
        return answer(body=BLOB)

    tokens: list[str] = []
    async with recording(reply, writable=False) as (repository, targets):
        host = repository.host
        assert await repository.blobs.read(DIGEST, 100) == BLOB
    assert targets[1] == "GET /token?a=%2f+b&scope=repository%3Aa%2Fapp%3Apull"


async def test_bytes_that_are_no_text_are_encoded_as_they_are() -> None:
    def reply(method: str, asked: str) -> bytes:
        return answer(body=BLOB) if asked.startswith("/s") else located(b"307 Elsewhere", "/s?x=\xe9\xff&y=%e9")

    async with recording(reply) as (repository, targets):
        assert await repository.blobs.read(DIGEST, 100) == BLOB
    assert targets[1] == "GET /s?x=%E9%FF&y=%e9"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://other.example/x?a=%2f", "https://other.example/x?a=%2f"),
        ("//other.example:8443/x", "http://other.example:8443/x"),
        ("/x//y?", "http://registry.example:5000/x//y?"),
        ("x?y=1", "http://registry.example:5000/v2/a/x?y=1"),
        ("?last=b%2Fc", "http://registry.example:5000/v2/a/list?last=b%2Fc"),
        ("#top", "http://registry.example:5000/v2/a/list?n=%2b"),
        ("http://é.example/ü?ö=1", "http://xn--9ca.example/%C3%BC?%C3%B6=1"),
    ],
)
def test_where_an_address_leads(address: str, expected: str) -> None:
    assert str(resolve(httpx.URL("http://registry.example:5000/v2/a/list?n=%2b"), address)) == expected


@pytest.mark.parametrize(
    "address", ["http:////[>", "//[x", "http://[::1", "http://h:port/", "http://h:0/", "https://h:65536/", "http:/x",
                "https://", "http://h:" + "9" * 5000, "x" * 70_000, "a\x7fb", "https://xn--.example:99999/"]
)  # fmt: skip
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(httpx.InvalidURL):
        resolve(httpx.URL("https://registry.example/v2/"), address)


@pytest.mark.parametrize("location", ["http:////[>", "//[x", "http://h:99999/x", "https://"])
async def test_a_location_that_is_no_address_is_reported(location: str) -> None:
    async with recording(lambda method, asked: located(b"307 Elsewhere", location)) as (repository, targets):
        with pytest.raises(InvalidResponse, match="leads to an address that is none"):
            await repository.blobs.read(DIGEST, 100)
    assert len(targets) == 1
    async with recording(lambda method, asked: located(b"202 Accepted", location)) as (repository, _):
        with pytest.raises(InvalidResponse, match="a session without an address"):
            await repository.uploads.start(DIGEST)


@pytest.mark.parametrize("link", ["http:////[", "//[x", "http://h:99999/x"])
async def test_a_link_that_is_no_address_is_an_error_of_its_list(link: str) -> None:
    page = answer(headers=f'Link: <{link}>; rel="next"\r\n'.encode(), body=b'{"tags": ["a"]}')
    async with recording(lambda method, asked: page) as (repository, _):
        with pytest.raises(InvalidResponse, match=r"the next page is at .*, which is not an address"):
            await repository.tags.all()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ""),
        ("</x>; rel=next", "/x"),
        ('</x>;title="a";REL="Next"', "/x"),
        ('</first>; rel="first", </x?a=1,2>; rel="prev next"', "/x?a=1,2"),
        ("</x>; rel=last, </y", ""),
        ("</x>", ""),
        ("no address; rel=next", ""),
        ('<>; rel="next"', ""),
    ],
)
def test_the_next_of_several_links(header: str, expected: str) -> None:
    assert next_link(httpx.Headers({"link": header})) == expected


@pytest.mark.parametrize("part", ["<", "<>;", "<a>; ;", "<a>;rel=" + " ", '<a>; x="', ", <"])
def test_no_link_takes_long(part: str) -> None:
    header = httpx.Headers({"link": (part * LINK_LIMIT)[:LINK_LIMIT]})
    began = time.process_time()
    assert next_link(header) in ("", "a")
    assert time.process_time() - began < 0.2


def test_a_link_too_long_to_tell_is_no_end_of_the_list() -> None:
    with pytest.raises(httpx.InvalidURL):
        next_link(httpx.Headers({"link": "<" + "x" * LINK_LIMIT + '>; rel="next"'}))


def test_a_query_is_appended_as_text() -> None:
    for base, expected in [("/x", "/x?d=1"), ("/x?a=%2f", "/x?a=%2f&d=1"), ("/x?", "/x?d=1"), ("/x?a&", "/x?a&d=1")]:
        assert append_query(httpx.URL(f"https://h{base}#top"), "d=1").raw_path.decode() == expected
    assert read_location(httpx.Headers([(b"location", b"/first"), (b"location", b"/second")])) == "/first"
