"""Uploads that break off and go on: where they broke where the registry can, from the start where it cannot."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from imageferry.copy import upload_stream
from imageferry.copy.reader import CHECKPOINT_SPACING
from imageferry.copy.retries import UPLOAD_BREAKS
from imageferry.registry.http import aiohttp_transport, client, retry
from imageferry.report.outcomes import Report
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.auth import Bearer
from testkit.registries.exchange import Call
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.log import Entry
from testkit.registries.quirks import Quirks
from tests.copy.running import configured, errors, outcomes, run

SIZE = 24 * 1024 * 1024
BLOB = b"".join(number.to_bytes(8, "big") for number in range(SIZE // 8))
DIGEST = sha256(BLOB)
HALF = SIZE // 2 + 12_345


async def copied(source: FakeRegistry, *destinations: FakeRegistry) -> Report:
    """Copy an image with the large blob to all destinations; judge every one that is said to have it."""
    digest = source.image("a/app", "v1", [BLOB])
    targets = [f"{each.host}/a/app" for each in destinations]
    report = await run(configured({f"{source.host}/a/app:v1": targets}, source, *destinations))
    for each in destinations:
        if outcomes(report)[f"{each.host}/a/app:v1"] == "copied":
            assert each.digest("a/app", "v1") == digest
            assert each.blob("a/app", DIGEST) == BLOB
        else:
            assert each.blob("a/app", DIGEST) is None
        assert not each.storage.uploads
    return report


def reads(registry: FakeRegistry) -> list[Entry]:
    """List the readings of the large blob."""
    return [entry for entry in registry.log.entries("blob-get") if DIGEST in entry.path]


def begins(read: Entry) -> int:
    """Return the byte from which on something was read."""
    return int(read.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))


def sent(registry: FakeRegistry) -> int:
    """Count the bytes of the large blob that a registry was sent."""
    return sum(entry.bytes_in for entry in registry.log.entries("upload-patch"))


def starts(registry: FakeRegistry) -> int:
    """Count the sessions for the large blob: all but the config's."""
    return registry.count("upload-start") - 1


async def test_an_upload_goes_on_where_it_broke(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    fake_destination.rules.append(Fault("upload-patch", actions.hang_up_reading(HALF), times=1))
    assert errors(await copied(fake_source, fake_destination)) == {}
    first, second = fake_destination.log.entries("upload-patch")
    assert "content-range" not in first.headers
    assert second.headers["content-range"] == f"{HALF}-{SIZE - 1}"
    assert second.headers["content-length"] == str(SIZE - HALF)
    assert sent(fake_destination) == SIZE
    assert (starts(fake_destination), fake_destination.count("upload-status", "upload-cancel")) == (1, 1)
    # The source is read again from where the hash is known, at most a buffer before the byte that is lacking.
    _, again = reads(fake_source)
    assert HALF - CHECKPOINT_SPACING - aiohttp_transport.READ_SIZE <= begins(again) <= HALF


@pytest.mark.parametrize("status", [400, 404, 405, 416, 500])
async def test_an_upload_whose_session_is_dropped_starts_anew(fake_source: FakeRegistry, status: int) -> None:
    with FakeRegistry(Quirks(broken_patch="drop")) as destination:
        destination.rules.append(Fault("upload-patch", actions.hang_up_reading(HALF), times=1))
        if status != 404:
            destination.rules.append(Fault("upload-status", actions.refuse(status, "BLOB_UPLOAD_INVALID")))
        assert errors(await copied(fake_source, destination)) == {}
        assert (starts(destination), sent(destination)) == (2, HALF + SIZE)
    assert [begins(read) for read in reads(fake_source)] == [0, 0]


async def test_a_broken_destination_is_fed_from_a_healthy_one(fake_source: FakeRegistry) -> None:
    with FakeRegistry() as one, FakeRegistry() as broken, FakeRegistry() as two:
        broken.rules.append(Fault("upload-patch", actions.hang_up_reading(HALF), times=1))
        assert errors(await copied(fake_source, one, broken, two)) == {}
        # The source is read once, and the healthy destinations are sent each byte once.
        assert len(reads(fake_source)) == 1
        for healthy in (one, two):
            assert healthy.count("upload-patch", "upload-status", "upload-cancel") == 1
            assert (starts(healthy), sent(healthy)) == (1, SIZE)
        assert (starts(broken), sent(broken)) == (1, SIZE)
        (again,) = reads(one)
        assert HALF - CHECKPOINT_SPACING - aiohttp_transport.READ_SIZE <= begins(again) <= HALF
        assert not reads(two)


async def test_the_healthy_have_committed_before_the_broken_one_is_fed_again(fake_source: FakeRegistry) -> None:
    with FakeRegistry() as healthy, FakeRegistry(Quirks(broken_patch="drop")) as broken:
        committed: list[bool] = []
        broken.rules.append(Fault("upload-patch", actions.hang_up_reading(HALF), times=1))

        def look() -> None:
            committed.append(healthy.blob("a/app", DIGEST) is not None)

        broken.rules.append(Fault("upload-patch", actions.run_first(look), skip=0))
        assert errors(await copied(fake_source, healthy, broken)) == {}
        assert committed == [False, True]


async def test_several_that_broke_are_fed_by_one_more_reading(fake_source: FakeRegistry) -> None:
    with FakeRegistry() as one, FakeRegistry() as two:
        one.rules.append(Fault("upload-patch", actions.hang_up_reading(HALF), times=1))
        two.rules.append(Fault("upload-patch", actions.hang_up_reading(SIZE // 4), times=1))
        assert errors(await copied(fake_source, one, two)) == {}
        assert [(starts(each), sent(each)) for each in (one, two)] == [(1, SIZE), (1, SIZE)]
    first, again = reads(fake_source)
    assert SIZE // 4 - CHECKPOINT_SPACING - aiohttp_transport.READ_SIZE <= begins(again) <= SIZE // 4
    assert begins(first) == 0


async def test_a_destination_that_holds_others_up_is_left_behind_and_fed_later(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_stream, "SHARED_STALL_LIMIT", 0.5)
    with FakeRegistry() as still:
        still.rules.append(Fault("upload-patch", actions.delay(600), times=1))
        async with asyncio.timeout(upload_stream.STALL_LIMIT - 5):
            assert errors(await copied(fake_source, still, fake_destination)) == {}
        assert (starts(fake_destination), sent(fake_destination)) == (1, SIZE)
    assert len(reads(fake_source)) == 1


async def test_breaks_are_counted_from_zero_with_each_progress(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_destination.rules.append(Fault("upload-patch", actions.hang_up_reading(SIZE // 10)))
    assert errors(await copied(fake_source, fake_destination)) == {}
    assert fake_destination.count("upload-patch") == 11 > UPLOAD_BREAKS
    assert (starts(fake_destination), sent(fake_destination)) == (1, SIZE)


@pytest.mark.parametrize("after", [0, HALF])
async def test_an_upload_without_progress_is_given_up(fake_source: FakeRegistry, after: int) -> None:
    with FakeRegistry(Quirks(broken_patch="drop")) as destination:
        destination.rules.append(Fault("upload-patch", actions.hang_up_reading(after)))
        report = await copied(fake_source, destination)
        (words,) = errors(report).values()
        assert f"upload blob {DIGEST[7:19]} to {destination.host}/a/app" in words
        assert destination.count("upload-patch") == UPLOAD_BREAKS


async def test_a_registry_that_claims_bytes_it_was_not_sent_is_not_believed(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_destination.rules.append(Fault("upload-patch", actions.hang_up_reading(0), times=1))
    claimed = actions.change(lambda reply: reply.set("Range", f"0-{SIZE + 5}"))
    fake_destination.rules.append(Fault("upload-status", claimed))
    assert errors(await copied(fake_source, fake_destination)) == {}
    assert (starts(fake_destination), sent(fake_destination)) == (2, SIZE)


async def test_an_answer_before_all_bytes_were_sent_is_not_believed(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_destination.rules.append(Fault("upload-patch", actions.respond(202), times=1))
    assert errors(await copied(fake_source, fake_destination)) == {}
    assert not any(entry.status >= 400 for entry in fake_destination.log.entries("upload-put"))


async def test_a_status_that_came_too_early_is_asked_again(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    # The registry may still be at the connection that broke: 416, and then another status.
    fake_destination.rules.append(Fault("upload-patch", actions.hang_up_reading(HALF), times=1))
    early = actions.with_header("Range", "0-99999")
    fake_destination.rules.append(Fault("upload-status", early, times=1))
    assert errors(await copied(fake_source, fake_destination)) == {}
    assert (starts(fake_destination), fake_destination.count("upload-status")) == (1, 2)
    last = fake_destination.log.entries("upload-patch")[-1]
    assert last.headers["content-range"] == f"{HALF}-{SIZE - 1}"


async def test_a_session_that_says_it_has_nothing_starts_anew(fake_source: FakeRegistry) -> None:
    # Its Range is a request behind: what is sent from the start would stand behind what it has.
    with FakeRegistry(Quirks(stale_range=True)) as destination:
        destination.rules.append(Fault("upload-patch", actions.hang_up_reading(HALF), times=1))
        assert errors(await copied(fake_source, destination)) == {}
        assert (starts(destination), sent(destination)) == (2, HALF + SIZE)


@pytest.mark.parametrize(
    ("quirks", "received"), [(Quirks(), 99_999), (Quirks(refuse_chunks=416), None), (Quirks(refuse_chunks=400), None)]
)
async def test_where_nothing_can_go_on_it_starts_anew_and_is_not_asked_again(
    fake_source: FakeRegistry, quirks: Quirks, received: int | None
) -> None:
    with FakeRegistry(quirks) as destination:
        if received is not None:
            destination.rules.append(Fault("upload-status", actions.with_header("Range", f"0-{received}")))
        destination.rules.append(Fault("upload-patch", actions.hang_up_reading(HALF), times=1))
        destination.rules.append(Fault("upload-patch", actions.hang_up_reading(HALF), times=1, skip=2))
        assert errors(await copied(fake_source, destination)) == {}
        patches = destination.log.entries("upload-patch")
        # It broke, was refused, broke once more in a new session, and went through in a third.
        assert ["content-range" in entry.headers for entry in patches[2:]] == [False, False]
        assert len(patches) == 4
        asked = destination.count("upload-status")
        assert asked == (1 if quirks.refuse_chunks == 400 else 2)
        assert starts(destination) == 3


async def test_an_idle_upload_that_is_closed_goes_on(
    fake_source: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", httpx.Timeout(1.5, pool=None))
    with FakeRegistry(Quirks(idle_seconds=0.3)) as destination:
        fake_source.rules.append(Fault(Match("blob-get", path=DIGEST), actions.stall_after(HALF), times=1))
        assert errors(await copied(fake_source, destination)) == {}
        assert (starts(destination), sent(destination)) == (1, SIZE)
        assert destination.count("upload-patch") == 2


async def test_an_upload_may_take_longer_than_any_silence(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", httpx.Timeout(1.0, pool=None))
    fake_source.rules.append(Fault(Match("blob-get", path=DIGEST), actions.slowly(SIZE / 3)))
    assert errors(await copied(fake_source, fake_destination)) == {}
    assert (len(reads(fake_source)), fake_destination.count("upload-patch")) == (1, 1)


async def test_a_destinations_token_that_ends_is_renewed(fake_source: FakeRegistry) -> None:
    bearer = Bearer({"ferry": "secret"})
    with FakeRegistry(auth=bearer) as destination:
        destination.rules.append(Fault("upload-patch", actions.run_first(bearer.revoke_all), times=1))
        digest = fake_source.image("a/app", "v1", [BLOB])
        auth = {destination.host: {"username": "ferry", "password": "secret", "insecure": True}}
        images = {f"{fake_source.host}/a/app:v1": f"{destination.host}/a/app"}
        assert errors(await run(configured(images, fake_source, auth=auth))) == {}
        assert destination.digest("a/app", "v1") == digest
        assert [entry.status for entry in destination.log.entries("upload-patch")] == [401, 202]
        assert len([entry for entry in destination.log.entries("upload-start") if entry.status == 202]) == 2


async def test_a_stream_that_is_never_authorized_is_an_error(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_destination.rules.append(Fault("upload-patch", actions.refuse(401, "UNAUTHORIZED")))
    report = await copied(fake_source, fake_destination)
    words = next(iter(errors(report).values()))
    assert f"no credentials for {fake_destination.host}: give its username and password in auth" in words
    # Once as it was, and once after a request with which a token would have been renewed.
    assert fake_destination.count("upload-patch") == 2


async def test_a_sources_token_that_ends_in_mid_blob_is_renewed(fake_destination: FakeRegistry) -> None:
    bearer = Bearer({"ferry": "secret"})
    with FakeRegistry(auth=bearer) as source:
        large = Match("blob-get", path=DIGEST)
        source.rules.append(Fault(large, actions.truncate(HALF), times=1))
        source.rules.append(Fault(large, actions.change(lambda _: bearer.revoke_all()), times=1))
        digest = source.image("a/app", "v1", [BLOB])
        auth = {source.host: {"username": "ferry", "password": "secret", "insecure": True}}
        images = {f"{source.host}/a/app:v1": f"{fake_destination.host}/a/app"}
        assert errors(await run(configured(images, fake_destination, auth=auth))) == {}
        assert sum(entry.bytes_out for entry in reads(source) if entry.status in (200, 206)) == SIZE
        assert [entry.status for entry in reads(source)][-2:] == [401, 206]
    assert fake_destination.digest("a/app", "v1") == digest
    assert (starts(fake_destination), fake_destination.count("upload-patch")) == (1, 1)


async def test_a_source_that_changed_between_two_readings_is_noticed(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_destination.rules.append(Fault("upload-patch", actions.hang_up_reading(HALF), times=1))
    fake_source.rules.append(Fault(Match("blob-get", path=DIGEST), actions.corrupt(5_000_000), skip=1))
    report = await copied(fake_source, fake_destination)
    assert "do not hash to its digest" in next(iter(errors(report).values()))
    assert not any(DIGEST in entry.query.get("digest", []) for entry in fake_destination.log.entries("upload-put"))


async def test_a_source_that_is_busy_in_the_middle_is_waited_for(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    large = Match("blob-get", path=DIGEST)
    fake_source.rules.append(Fault(large, actions.truncate(HALF), times=1))
    fake_source.rules.append(Fault(large, actions.refuse(503, "UNAVAILABLE"), times=retry.ATTEMPTS + 1, skip=1))
    assert errors(await copied(fake_source, fake_destination)) == {}
    assert (starts(fake_destination), sent(fake_destination)) == (1, SIZE)


async def test_a_session_that_is_lost_before_its_commit_starts_anew(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    large = Match("upload-put", predicate=lambda call: call.query("digest") == DIGEST)
    fake_destination.rules.append(Fault(large, actions.refuse(404, "BLOB_UPLOAD_UNKNOWN"), times=1))
    assert errors(await copied_leaving(fake_source, fake_destination)) == {}
    assert (starts(fake_destination), sent(fake_destination)) == (2, 2 * SIZE)


async def test_what_was_gone_on_with_and_does_not_hash_there_starts_anew(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_destination.rules.append(Fault("upload-patch", actions.hang_up_reading(HALF), times=1))
    large = Match("upload-put", predicate=lambda call: call.query("digest") == DIGEST)
    fake_destination.rules.append(Fault(large, actions.refuse(400, "DIGEST_INVALID"), times=1))
    assert errors(await copied(fake_source, fake_destination)) == {}
    assert (starts(fake_destination), sent(fake_destination)) == (2, 2 * SIZE)


async def test_a_commit_that_is_busy_for_long_is_all_that_is_sent_again(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    large = Match("upload-put", predicate=lambda call: call.query("digest") == DIGEST)
    fake_destination.rules.append(Fault(large, actions.refuse(503, "UNAVAILABLE"), times=retry.ATTEMPTS))
    assert errors(await copied(fake_source, fake_destination)) == {}
    assert (starts(fake_destination), sent(fake_destination)) == (1, SIZE)
    assert len(reads(fake_source)) == 1


@pytest.mark.parametrize("kind", ["upload-patch", "upload-put"])
async def test_a_destination_that_goes_down_does_not_hold_the_others_up(fake_source: FakeRegistry, kind: str) -> None:
    with FakeRegistry() as healthy, FakeRegistry() as down:

        async def die(call: Call, proceed: Callable[[Call], object]) -> object:
            down.rules.append(Fault(None, actions.hang_up("reset")))
            return await proceed(call)  # type: ignore[misc]

        down.rules.append(Fault(kind, die, times=1))  # type: ignore[arg-type]
        report = await copied_leaving(fake_source, healthy, down)
        assert outcomes(report)[f"{healthy.host}/a/app:v1"] == "copied"
        assert (len(reads(fake_source)), sent(healthy)) == (1, SIZE)


async def copied_leaving(source: FakeRegistry, *destinations: FakeRegistry) -> Report:
    """Copy as `copied` does, where the registry itself has left a session behind."""
    digest = source.image("a/app", "v1", [BLOB])
    targets = [f"{each.host}/a/app" for each in destinations]
    report = await run(configured({f"{source.host}/a/app:v1": targets}, source, *destinations))
    assert destinations[0].digest("a/app", "v1") == digest
    return report
