"""Connections that break, bytes that are wrong, and sides that stand still."""

import asyncio

import httpx
import pytest

from imageferry.config import load_text
from imageferry.copy import upload_stream
from imageferry.copy.blob_move import BlobMove
from imageferry.copy.engine import Engine
from imageferry.copy.errors import DeliveryError
from imageferry.copy.options import Options
from imageferry.copy.retries import READ_BREAKS, UPLOAD_BREAKS
from imageferry.registry.http import aiohttp_transport, client
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.exchange import Call
from testkit.registries.fault_rules import Action, Fault, Match
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.quirks import Quirks
from tests.copy.running import configured, errors, outcomes, run

SIZE = 4 * 1024 * 1024
LARGE = bytes(range(256)) * (SIZE // 256)
SMALL = b"a small layer" * 100


def of(layer: bytes, kind: str = "blob-get") -> Match:
    """Match the requests for one blob."""
    return Match(kind, path=sha256(layer))


def text(source: FakeRegistry, *destinations: FakeRegistry) -> str:
    """Write a configuration that copies a/app:v1."""
    targets = [f"{each.host}/a/app" for each in destinations]
    return configured({f"{source.host}/a/app:v1": targets}, source, *destinations)


@pytest.mark.parametrize("layer", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("part", [0, 3])
@pytest.mark.parametrize("break_off", [actions.truncate, actions.reset_after])
async def test_a_read_goes_on_where_it_broke(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, layer: bytes, part: int, break_off: object
) -> None:
    digest = fake_source.image("a/app", "v1", [layer])
    after = len(layer) * part // 4
    fake_source.rules.append(Fault(of(layer), break_off(after), times=2))  # type: ignore[operator]
    report = await run(text(fake_source, fake_destination))
    assert errors(report) == {}
    assert fake_destination.digest("a/app", "v1") == digest
    reads = [entry for entry in fake_source.log.entries("blob-get") if sha256(layer) in entry.path]
    assert len(reads) == 3 if part == 0 else len(reads) >= 2
    if part and break_off is actions.truncate:
        # Each goes on at the byte at which the one before it ended; none is read twice.
        assert reads[1].headers["range"] == f"bytes={after}-"
        assert sum(entry.bytes_out for entry in reads) == len(layer)
    assert sum(entry.bytes_out for entry in reads) <= len(layer) + 2 * aiohttp_transport.READ_SIZE
    assert fake_destination.count("upload-start") == 2


async def test_a_source_that_knows_no_ranges_starts_anew(fake_destination: FakeRegistry) -> None:
    with FakeRegistry(Quirks(ranges=False)) as source:
        digest = source.image("a/app", "v1", [LARGE])
        source.rules.append(Fault(of(LARGE), actions.truncate(SIZE // 2), times=1))
        report = await run(text(source, fake_destination))
        assert errors(report) == {}
    assert fake_destination.digest("a/app", "v1") == digest
    assert fake_destination.blob("a/app", sha256(LARGE)) == LARGE
    # What was known is passed over: it is neither counted nor sent again.
    assert report.totals.bytes_read == report.totals.bytes_written


@pytest.mark.parametrize("status", [400, 403, 404, 405, 416, 500, 501])
async def test_a_source_that_refuses_ranges_is_read_from_the_start(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, status: int
) -> None:
    digest = fake_source.image("a/app", "v1", [LARGE, LARGE[1:]])
    breaks = [Fault(of(layer), actions.truncate(SIZE // 2), times=1) for layer in (LARGE, LARGE[1:])]
    ranged = Fault(
        Match("blob-get", predicate=lambda call: call.header("range") is not None), actions.refuse(status, "RANGE")
    )
    fake_source.rules += [ranged, *breaks]
    report = await run(text(fake_source, fake_destination), proc=1)
    assert errors(report) == {}
    assert fake_destination.digest("a/app", "v1") == digest
    # The upload goes on: what was known is passed over.
    assert report.totals.bytes_read == report.totals.bytes_written
    assert fake_destination.count("upload-start") == 3
    # It is remembered; a failure that passes says nothing of ranges.
    assert ranged.hits == (1 if status not in (403, 404, 500) else ranged.hits)


async def test_a_source_that_refuses_the_whole_blob_too_is_an_error(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("a/app", "v1", [LARGE])
    fake_source.rules.append(Fault(of(LARGE), actions.truncate(SIZE // 2), times=1))
    fake_source.rules.append(Fault(of(LARGE), actions.refuse(403, "DENIED", "not any more"), skip=1))
    (words,) = errors(await run(text(fake_source, fake_destination))).values()
    assert "not any more" in words
    assert fake_source.count("blob-get") == 2 + 2


async def test_any_number_of_breaks_is_survived_while_bytes_come(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    digest = fake_source.image("a/app", "v1", [LARGE])
    fake_source.rules.append(Fault(of(LARGE), actions.truncate(SIZE // 10)))
    assert errors(await run(text(fake_source, fake_destination))) == {}
    assert fake_destination.digest("a/app", "v1") == digest
    assert fake_source.count("blob-get") == 12


async def test_a_source_that_gives_no_bytes_is_given_up(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("a/app", "v1", [LARGE])
    fake_source.rules.append(Fault(of(LARGE), actions.truncate(SIZE // 2), times=1))
    fake_source.rules.append(Fault(of(LARGE), actions.truncate(0), skip=1))
    report = await run(text(fake_source, fake_destination))
    (words,) = errors(report).values()
    assert "ended too early" in words or "2,097,152 of 4,194,304 bytes" in words
    reads = [entry for entry in fake_source.log.entries("blob-get") if sha256(LARGE) in entry.path]
    assert len(reads) == 1 + READ_BREAKS - 1
    assert fake_destination.digest("a/app", "v1") is None
    assert not fake_destination.storage.uploads


async def test_a_source_that_stands_still_is_left_and_asked_again(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", httpx.Timeout(0.5, pool=None))
    digest = fake_source.image("a/app", "v1", [LARGE])
    fake_source.rules.append(Fault(of(LARGE), actions.stall_after(SIZE // 2), times=1))
    assert errors(await run(text(fake_source, fake_destination))) == {}
    assert fake_destination.digest("a/app", "v1") == digest


async def test_a_destination_that_stands_still_drops_out(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_stream, "STALL_LIMIT", 0.5)
    layer = bytes(24 * 1024 * 1024)
    digest = fake_source.image("a/app", "v1", [layer])
    with FakeRegistry() as still:
        still.rules.append(Fault("upload-patch", actions.delay(600)))
        async with asyncio.timeout(15):
            report = await run(text(fake_source, still, fake_destination))
        assert outcomes(report) == {
            f"{still.host}/a/app:v1": "failed",
            f"{fake_destination.host}/a/app:v1": "copied",
        }
        assert "took no data" in errors(report)[f"{still.host}/a/app:v1"]
    assert fake_destination.digest("a/app", "v1") == digest


@pytest.mark.parametrize("layer", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("damage", [actions.corrupt(7), actions.corrupt(1000, 20)])
async def test_a_corrupt_blob_is_never_committed(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, layer: bytes, damage: Action
) -> None:
    fake_source.image("a/app", "v1", [layer])
    fake_source.rules.append(Fault(of(layer), damage))
    report = await run(text(fake_source, fake_destination))
    (words,) = errors(report).values()
    assert sha256(layer)[7:19] in words
    assert "do not hash to its digest" in words
    assert fake_destination.tags("a/app") == []
    assert fake_destination.blob("a/app", sha256(layer)) is None
    assert not any(
        sha256(layer) in entry.query.get("digest", []) for entry in fake_destination.log.entries("upload-put")
    )
    assert not fake_destination.storage.uploads
    # Another read does not make it whole.
    assert len([entry for entry in fake_source.log.entries("blob-get") if sha256(layer) in entry.path]) == 1


@pytest.mark.parametrize("layer", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("difference", [-1, 1])
async def test_a_blob_of_another_size_is_never_committed(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, layer: bytes, difference: int
) -> None:
    fake_source.image("a/app", "v1", [layer])
    digest = fake_source.digest("a/app", "v1") or ""
    manifest = fake_source.manifest("a/app", "v1") or b""
    wrong = manifest.replace(f'"size": {len(layer)}'.encode(), f'"size": {len(layer) + difference}'.encode())
    assert wrong != manifest
    fake_source.add_manifest("a/app", "v1", wrong, fake_source.media_type("a/app", digest) or "")
    report = await run(text(fake_source, fake_destination))
    (words,) = errors(report).values()
    assert sha256(layer)[7:19] in words
    assert fake_destination.tags("a/app") == []
    assert fake_destination.blob("a/app", sha256(layer)) is None
    assert fake_source.count("blob-get") <= 1 + 1 + READ_BREAKS


async def test_a_blob_that_is_not_at_the_source_is_an_error(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("a/app", "v1", [SMALL])
    fake_source.storage.repository("a/app").blobs.discard(sha256(SMALL))
    report = await run(text(fake_source, fake_destination))
    (words,) = errors(report).values()
    assert f"read blob {sha256(SMALL)[7:19]} of {fake_source.host}/a/app" in words
    assert "404" in words
    assert fake_destination.tags("a/app") == []


async def test_an_upload_that_is_given_up_is_done_at_the_next_try(fake_source: FakeRegistry) -> None:
    digest = fake_source.image("a/app", "v1", [LARGE, SMALL])
    with FakeRegistry(Quirks(broken_patch="drop")) as destination:
        destination.rules.append(Fault("upload-patch", actions.hang_up_reading(SIZE // 2), times=UPLOAD_BREAKS))
        configuration = load_text(text(fake_source, destination), "config.json", environment={})
        async with Engine(configuration, Options(), mover=BlobMove.run, environment={}) as engine:
            (job,) = await engine.plan(configuration.rules[0])
            with pytest.raises(DeliveryError, match="upload blob"):
                await engine.copy(job)
            assert destination.digest("a/app", "v1") is None
            assert destination.count("upload-patch") == UPLOAD_BREAKS
            await engine.copy(job)
            report = engine.outcomes.report()
        assert report.totals.copied == 1
        assert destination.digest("a/app", "v1") == digest
        # The blobs that arrived at the first try are not moved again.
        assert fake_source.count("blob-get") == UPLOAD_BREAKS + 1 + 2
        assert not destination.storage.uploads


async def test_a_destination_that_breaks_does_not_disturb_the_other(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    digest = fake_source.image("a/app", "v1", [LARGE])
    with FakeRegistry(Quirks(broken_patch="drop")) as broken:
        broken.rules.append(Fault("upload-patch", actions.hang_up_reading(SIZE // 4)))
        report = await run(text(fake_source, broken, fake_destination))
        assert outcomes(report) == {
            f"{broken.host}/a/app:v1": "failed",
            f"{fake_destination.host}/a/app:v1": "copied",
        }
        assert broken.digest("a/app", "v1") is None
    assert fake_destination.digest("a/app", "v1") == digest
    assert len([entry for entry in fake_source.log.entries("blob-get") if sha256(LARGE) in entry.path]) == 1


async def test_a_read_stops_when_no_destination_is_left(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    layer = bytes(64 * 1024 * 1024)
    fake_source.image("a/app", "v1", [layer])
    fake_destination.rules.append(Fault("upload-patch", actions.refuse(403, "DENIED", "no room")))
    report = await run(text(fake_source, fake_destination))
    assert report.totals.bytes_read < len(layer)
    assert "no room" in next(iter(errors(report).values()))


async def test_a_refusal_is_not_tried_again(fake_source: FakeRegistry, pauses: list[float]) -> None:
    # image-syncer tries everything again, whatever the cause.
    fake_source.image("a/app", "v1", [LARGE])
    with FakeRegistry(Quirks(quota=10)) as destination:
        report = await run(text(fake_source, destination))
        assert "quota of 10" in next(iter(errors(report).values()))
        assert destination.count("manifest-put") == 0
        assert destination.count("upload-put") == 2
    assert pauses == []


async def test_a_layer_that_is_redirected_to_another_host_is_read_there(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    digest = fake_source.image("a/app", "v1", [LARGE])
    with FakeRegistry(Quirks(refuse_authorization=True), storage=fake_source.storage) as store:

        def signed(call: Call) -> str:
            return f"{store.url}{call.path}?X-Signature=a%2Fb%2Bc%3D&X-Date=1"

        fake_source.rules.append(Fault("blob-get", actions.redirect(signed)))
        store.rules.append(Fault("blob-get", actions.truncate(SIZE // 2), times=1, skip=0))
        assert errors(await run(text(fake_source, fake_destination))) == {}
        assert {tuple(entry.query["X-Signature"]) for entry in store.log} == {("a/b+c=",)}
    assert fake_destination.digest("a/app", "v1") == digest
