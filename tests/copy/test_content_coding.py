"""Blobs that a proxy encodes, and blobs that a registry stores encoded and says so."""

import gzip
import os
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageferry.copy.content_coding import PIECE, decode
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.quirks import Quirks
from tests.copy.running import configured, errors, run

SIZE = 2 * 1024 * 1024
PLAIN = b"".join(number.to_bytes(8, "big") for number in range(SIZE // 8))
STORED = gzip.compress(os.urandom(SIZE), 1)
SMALL_PLAIN, SMALL_STORED = PLAIN[:5000], gzip.compress(PLAIN[:5000])
LAYERS = {"plain": PLAIN, "stored": STORED, "small plain": SMALL_PLAIN, "small stored": SMALL_STORED}


async def pieces_of(data: bytes, length: int) -> AsyncIterator[bytes]:
    """Yield data in pieces."""
    for offset in range(0, len(data), length):
        yield data[offset : offset + length]


async def copied(source: FakeRegistry, destination: FakeRegistry) -> dict[str, str]:
    """Copy all tags; return what failed."""
    text = configured({f"{source.host}/a/app": f"{destination.host}/a/app"}, source, destination)
    return errors(await run(text))


def reads(source: FakeRegistry, layer: bytes) -> int:
    """Count the readings of a layer."""
    return sum(sha256(layer) in entry.path for entry in source.log.entries("blob-get"))


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("kind", list(LAYERS))
async def test_what_a_proxy_encodes_is_decoded(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, kind: str, chunked: bool
) -> None:
    layer = LAYERS[kind]
    digest = fake_source.image("a/app", "v1", [layer])
    fake_source.rules.append(Fault("blob-get", actions.gzipped(chunked=chunked)))
    assert await copied(fake_source, fake_destination) == {}
    assert fake_destination.digest("a/app", "v1") == digest
    assert fake_destination.blob("a/app", sha256(layer)) == layer
    assert not fake_destination.storage.uploads
    # Its length says which it is; without one it may take a second reading.
    assert reads(fake_source, layer) <= (2 if chunked else 1)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("kind", ["stored", "small stored"])
async def test_what_is_stored_encoded_is_kept_as_it_is(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, kind: str, chunked: bool
) -> None:
    layer = LAYERS[kind]
    digest = fake_source.image("a/app", "v1", [layer])
    rule = Fault(Match("blob-get", path=sha256(layer)), actions.gzipped(chunked=chunked, relabelled=True))
    fake_source.rules.append(rule)
    assert await copied(fake_source, fake_destination) == {}
    assert fake_destination.digest("a/app", "v1") == digest
    assert fake_destination.blob("a/app", sha256(layer)) == layer
    assert reads(fake_source, layer) == 1


async def test_which_it_is_is_found_out_once(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    layers = [PLAIN[number : number + 600_000] for number in range(4)]
    for number, layer in enumerate(layers):
        fake_source.image("a/app", f"v{number}", [layer])
    fake_source.rules.append(Fault("blob-get", actions.gzipped(chunked=True)))
    assert await copied(fake_source, fake_destination) == {}
    assert sum(reads(fake_source, layer) for layer in layers) <= len(layers) + 1


@pytest.mark.parametrize("layer", [PLAIN, SMALL_PLAIN], ids=["large", "small"])
async def test_what_is_damaged_is_never_committed(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, layer: bytes
) -> None:
    fake_source.image("a/app", "v1", [layer])
    of_it = Match("blob-get", path=sha256(layer))
    fake_source.rules += [Fault(of_it, actions.gzipped(chunked=True)), Fault(of_it, actions.corrupt(100))]
    (words,) = (await copied(fake_source, fake_destination)).values()
    assert "do not hash to its digest, though it came encoded as gzip, which was not asked for" in words
    assert fake_destination.blob("a/app", sha256(layer)) is None
    assert not fake_destination.storage.uploads
    assert reads(fake_source, layer) == 2


async def test_a_break_of_what_is_encoded_is_read_from_the_start(fake_destination: FakeRegistry) -> None:
    with FakeRegistry(Quirks(ranges=True)) as source:
        digest = source.image("a/app", "v1", [PLAIN])
        of_it = Match("blob-get", path=sha256(PLAIN))
        source.rules += [Fault(of_it, actions.truncate(100_000), times=1), Fault(of_it, actions.gzipped())]
        assert await copied(source, fake_destination) == {}
        assert fake_destination.digest("a/app", "v1") == digest
        ranges = [entry.headers.get("range") for entry in source.log.entries("blob-get") if sha256(PLAIN) in entry.path]
        assert ranges == [None, None]


async def test_a_coding_that_is_not_known_is_named(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    fake_source.image("a/app", "v1", [PLAIN])
    encoded = actions.replace_body(b"\x1b" + PLAIN[1:], {"Content-Encoding": "br"})
    fake_source.rules.append(Fault(Match("blob-get", path=sha256(PLAIN)), encoded))
    (words,) = (await copied(fake_source, fake_destination)).values()
    assert "came encoded as br" in words


@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=4), st.integers(1, 700))
async def test_any_streams_in_any_pieces(streams: list[bytes], length: int) -> None:
    encoded = b"".join(map(gzip.compress, streams))
    assert b"".join([piece async for piece in decode(pieces_of(encoded, length), "gzip")]) == b"".join(streams)
    deflated = zlib.compress(streams[0])
    assert b"".join([piece async for piece in decode(pieces_of(deflated, length), "deflate")]) == streams[0]


async def test_what_grows_without_bound_comes_in_bounded_pieces() -> None:
    encoded = gzip.compress(bytes(32 * PIECE), 1)
    tracemalloc.start()
    try:
        total = 0
        async for piece in decode(pieces_of(encoded, len(encoded)), "gzip"):
            assert len(piece) <= PIECE
            total += len(piece)
        assert total == 32 * PIECE
        assert tracemalloc.get_traced_memory()[1] < 8 * PIECE
    finally:
        tracemalloc.stop()
