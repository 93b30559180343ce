"""Registries that want a blob's bytes in ways of their own: each is served, and asked only once a run what it wants."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from imageferry.registry import upload_dialect
from imageferry.report.outcomes import Report
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.auth import Bearer
from testkit.registries.certificates import Authority
from testkit.registries.exchange import Call, Ending, Hangup, Reply
from testkit.registries.fault_rules import Fault, Match, Proceed
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.log import Entry
from testkit.registries.quirks import Quirks
from tests.copy.running import configured, errors, run

SIZE = 3 * 1024 * 1024 + 7
LARGE = [bytes([number]) * SIZE for number in range(3)]
SMALL = [b"small" * 1000, b"smaller" * 100]


async def copied(source: FakeRegistry, destination: FakeRegistry, layers: Sequence[bytes], proc: int = 1) -> Report:
    """Copy an image, where nothing is said one blob after the other, and judge it."""
    digest = source.image("a/app", "v1", list(layers))
    text = configured({f"{source.host}/a/app:v1": f"{destination.host}/a/app"}, source, destination)
    report = await run(text, proc=proc)
    assert errors(report) == {}
    assert destination.digest("a/app", "v1") == digest
    for layer in layers:
        assert destination.blob("a/app", sha256(layer)) == layer
    assert not destination.storage.uploads
    return report


def refused(registry: FakeRegistry, *kinds: str) -> list[int]:
    """List the statuses of requests that were refused."""
    return [entry.status for entry in registry.log.entries(*kinds) if entry.status >= 400]


@pytest.mark.parametrize("status", [400, 405, 501])
async def test_a_registry_without_patch_gets_one_streamed_put(fake_source: FakeRegistry, status: int) -> None:
    with FakeRegistry(Quirks(refuse_patch=status)) as destination:
        await copied(fake_source, destination, [*LARGE, *SMALL])
        assert refused(destination, "upload-patch", "upload-put") == [status]
        assert destination.count("upload-patch") == 1
        large = [entry for entry in destination.log.entries("upload-put") if entry.bytes_in == SIZE]
        assert len(large) == len(LARGE)
        assert all(entry.headers["content-length"] == str(SIZE) for entry in large)
        assert not any("transfer-encoding" in entry.headers for entry in large)
        # The first session, in which the PATCH was refused, and one for each blob and the config.
        assert destination.count("upload-start") == 1 + len(LARGE) + len(SMALL) + 1


async def test_a_streamed_put_of_wrong_bytes_is_never_ended(fake_source: FakeRegistry) -> None:
    with FakeRegistry(Quirks(refuse_patch=405)) as destination:
        fake_source.image("a/app", "v1", [LARGE[0]])
        fake_source.rules.append(Fault(Match("blob-get", path=sha256(LARGE[0])), actions.corrupt(SIZE - 1)))
        text = configured({f"{fake_source.host}/a/app:v1": f"{destination.host}/a/app"}, fake_source, destination)
        report = await run(text)
        assert "do not hash" in next(iter(errors(report).values()))
        assert all(entry.bytes_in < SIZE for entry in destination.log.entries("upload-put"))


async def test_a_streamed_put_whose_answer_is_lost_is_looked_up(fake_source: FakeRegistry) -> None:
    with FakeRegistry(Quirks(refuse_patch=405)) as destination:
        large = Match("upload-put", predicate=lambda call: call.query("digest") == sha256(LARGE[0]))
        destination.rules.append(Fault(large, actions.hang_up(done=True), times=1))
        await copied(fake_source, destination, LARGE[:1])
        assert [entry.bytes_in for entry in destination.log.entries("upload-put")].count(SIZE) == 1
        found = [entry for entry in destination.log.entries("blob-head") if entry.status == 200]
        assert len(found) == 1


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_a_streamed_put_that_breaks_starts_anew(fake_source: FakeRegistry, ending: Ending) -> None:
    with FakeRegistry(Quirks(refuse_patch=405)) as destination:
        large = Match("upload-put", predicate=lambda call: call.query("digest") == sha256(LARGE[0]))
        destination.rules.append(Fault(large, actions.hang_up_reading(SIZE // 2, ending), times=1))
        await copied(fake_source, destination, LARGE[:1])
        assert destination.count("upload-status") == 0
        assert destination.count("upload-patch") == 1


async def test_a_registry_that_wants_patch_first_is_asked_once(fake_source: FakeRegistry) -> None:
    with FakeRegistry(Quirks(patch_before_put=True)) as destination:
        await copied(fake_source, destination, [*SMALL, *LARGE])
        assert refused(destination, "upload-patch", "upload-put") == [400]
        assert destination.count("upload-patch") == len(SMALL) + len(LARGE) + 1


@pytest.mark.parametrize(("layer", "patch_first"), [(LARGE[0], False), (SMALL[0], True)], ids=["large", "small"])
async def test_a_commit_at_an_address_that_is_not_the_newest_starts_anew(
    fake_source: FakeRegistry, layer: bytes, patch_first: bool
) -> None:
    with FakeRegistry(Quirks(patch_before_put=patch_first)) as destination:

        async def twice(call: Call, proceed: Proceed) -> Reply:
            """Have the session go on to a state that the answer does not tell."""
            reply = await proceed(call)
            destination.storage.uploads[call.reference].state = "another"
            return reply

        layers = Match("upload-patch", predicate=lambda call: call.header("content-length") in (None, str(len(layer))))
        destination.rules.append(Fault(layers, twice, times=1))
        await copied(fake_source, destination, [layer])
        # One more where it is found out that bytes go by PATCH.
        assert refused(destination, "upload-put").count(400) == (2 if patch_first else 1)
        sent = [entry for entry in destination.log.entries("upload-patch") if entry.bytes_in == len(layer)]
        assert len(sent) == 2


async def test_small_blobs_that_meet_such_a_registry_together_all_arrive(fake_source: FakeRegistry) -> None:
    with FakeRegistry(Quirks(patch_before_put=True)) as destination:
        # All of them have been sent before the first refusal is heard.
        destination.rules.append(Fault("upload-put", actions.delay(0.3), times=3))
        await copied(fake_source, destination, SMALL, proc=3)
        assert len(refused(destination, "upload-put")) == 3


@pytest.mark.parametrize("quirks", [Quirks(refuse_chunks=416), Quirks(least_chunk=5 * 1024 * 1024)])
async def test_a_blob_is_one_request_where_nobody_asks_for_more(fake_source: FakeRegistry, quirks: Quirks) -> None:
    with FakeRegistry(quirks) as destination:
        await copied(fake_source, destination, LARGE)
        assert [entry.bytes_in for entry in destination.log.entries("upload-patch")] == [SIZE] * len(LARGE)
        assert refused(destination, "upload-patch", "upload-put") == []


def lengths(patches: list[Entry]) -> list[int]:
    """Return the bytes of each PATCH, after a check that each begins where the one before it ended."""
    begin = 0
    for patch in patches:
        assert patch.headers["content-range"] == f"{begin}-{begin + patch.bytes_in - 1}"
        begin += patch.bytes_in
    return [patch.bytes_in for patch in patches]


@pytest.mark.parametrize(
    ("most", "least", "expected"),
    [
        (1_000_000, 0, [1_000_000, 1_000_000, 1_000_000, SIZE - 3_000_000]),
        (1_000_000, 2_000_000, [2_000_000, SIZE - 2_000_000]),
        (SIZE - 1, 1000, [SIZE - 1, 1]),
        # A request a byte would never end.
        (1, 0, [64 * 1024] * 48 + [7]),
    ],
)
async def test_chunks_are_as_large_as_the_registry_wants_them(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, most: int, least: int, expected: list[int]
) -> None:
    fake_destination.quirks.least_chunk = least
    limit = actions.with_header("OCI-Chunk-Max-Length", str(most))
    fake_destination.rules.append(Fault("upload-start", limit))
    await copied(fake_source, fake_destination, LARGE[:1])
    assert lengths(fake_destination.log.entries("upload-patch")) == expected


@pytest.mark.parametrize("stale", [False, True])
async def test_a_chunk_that_breaks_is_gone_on_with(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, stale: bool
) -> None:
    fake_destination.rules.append(Fault("upload-start", actions.with_header("OCI-Chunk-Max-Length", "1000000")))
    after = 0 if stale else 400_000
    fake_destination.rules.append(Fault("upload-patch", actions.hang_up_reading(after), times=1, skip=2))
    if stale:
        # ECR's Range is one request behind: what it has acknowledged it has.
        fake_destination.rules.append(Fault("upload-status", actions.with_header("Range", "0-999999")))
    await copied(fake_source, fake_destination, LARGE[:1])
    assert sum(entry.bytes_in for entry in fake_destination.log.entries("upload-patch")) == SIZE
    assert (fake_destination.count("upload-start"), fake_destination.count("upload-status")) == (2, 1)


@pytest.mark.parametrize("state", [False, True])
async def test_a_proxy_that_limits_a_request_gets_chunks(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch, state: bool
) -> None:
    monkeypatch.setattr(upload_dialect, "CHUNK_SIZE", 1_000_000)

    async def limit(call: Call, proceed: Proceed) -> Reply:
        """Refuse a body that is too long: at once, or when it is where its length is not said."""
        length = call.header("content-length")
        if length is None:
            async for _ in call.chunks():
                if call.entry.bytes_in > 1_000_000:
                    return Reply(413)
        return await proceed(call) if int(length or 0) <= 1_000_000 else Reply(413)

    fake_destination.quirks.state = state
    fake_destination.rules.append(Fault("upload-patch", limit))
    await copied(fake_source, fake_destination, LARGE)
    assert refused(fake_destination, "upload-patch") == [413]
    assert fake_destination.count("upload-patch") == 1 + 4 * len(LARGE)


async def test_a_blob_that_is_too_large_in_chunks_too_is_an_error(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_dialect, "CHUNK_SIZE", 1_000_000)
    fake_source.image("a/app", "v1", [LARGE[0]])
    fake_destination.rules.append(Fault("upload-patch", actions.respond(413)))
    text = configured({f"{fake_source.host}/a/app:v1": f"{fake_destination.host}/a/app"}, fake_source, fake_destination)
    assert "413" in next(iter(errors(await run(text)).values()))
    assert fake_destination.count("upload-patch") == 2


@pytest.mark.parametrize("status", [307, 308])
async def test_a_stream_that_is_sent_elsewhere_goes_there(fake_source: FakeRegistry, status: int) -> None:
    bearer = Bearer({"ferry": "secret"})
    with (
        FakeRegistry(auth=bearer) as destination,
        FakeRegistry(Quirks(refuse_authorization=True), storage=destination.storage) as elsewhere,
    ):

        def moved(call: Call) -> str:
            return f"{elsewhere.url}{call.path}?_state={call.query('_state')}"

        destination.rules.append(Fault("upload-patch", actions.redirect(moved, status)))
        digest = fake_source.image("a/app", "v1", [LARGE[0]])
        auth = {destination.host: {"username": "ferry", "password": "secret", "insecure": True}}
        images = {f"{fake_source.host}/a/app:v1": f"{destination.host}/a/app"}
        assert errors(await run(configured(images, fake_source, auth=auth))) == {}
        assert destination.digest("a/app", "v1") == digest
        assert destination.count("upload-patch") == 1
        assert [entry.bytes_in for entry in elsewhere.log.entries("upload-patch")] == [SIZE]
        assert not any(entry.authorization for entry in elsewhere.log)
        assert destination.blob("a/app", sha256(LARGE[0])) == LARGE[0]


async def test_a_stream_that_is_sent_round_in_circles_is_given_up(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("a/app", "v1", [LARGE[0]])
    back = actions.redirect(lambda call: f"{fake_destination.url}{call.path}?_state={call.query('_state')}")
    fake_destination.rules.append(Fault("upload-patch", back))
    text = configured({f"{fake_source.host}/a/app:v1": f"{fake_destination.host}/a/app"}, fake_source, fake_destination)
    assert f"wants it at {fake_destination.host.partition(':')[0]}" in next(iter(errors(await run(text)).values()))
    assert fake_destination.count("upload-patch") < 6


async def test_a_location_that_forgot_tls_is_asked_by_tls(fake_source: FakeRegistry, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with FakeRegistry(tls=authority.server().server_context()) as destination:
        destination.quirks.location, destination.quirks.location_base = "other-host", f"http://{destination.host}"
        digest = fake_source.image("a/app", "v1", [LARGE[0], *SMALL])
        auth = {destination.host: {"ca_file": str(authority.ca_file)}}
        images = {f"{fake_source.host}/a/app:v1": f"{destination.host}/a/app"}
        assert errors(await run(configured(images, fake_source, auth=auth))) == {}
        assert destination.digest("a/app", "v1") == digest


@pytest.mark.parametrize("layer", [b"", SMALL[0]], ids=["empty", "small"])
async def test_a_small_blob_whose_session_is_lost_starts_anew(fake_source: FakeRegistry, layer: bytes) -> None:
    with FakeRegistry(Quirks(broken_patch="drop")) as destination:
        blob = Match("upload-put", predicate=lambda call: call.query("digest") == sha256(layer))

        async def lose(call: Call, proceed: Proceed) -> Reply:
            del destination.storage.uploads[call.reference]
            raise Hangup

        destination.rules.append(Fault(blob, lose, times=1))
        await copied(fake_source, destination, [layer])
        assert destination.count("upload-start") == 3


async def test_a_small_blob_of_which_bytes_are_left_starts_anew(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    # What a PUT that broke has brought stands before what the next one brings.
    blob = Match("upload-put", predicate=lambda call: call.query("digest") == sha256(SMALL[0]))

    async def leave(call: Call, proceed: Proceed) -> Reply:
        fake_destination.storage.uploads[call.reference].data += b"half"
        raise Hangup

    fake_destination.rules.append(Fault(blob, leave, times=1))
    await copied(fake_source, fake_destination, SMALL[:1])
    assert refused(fake_destination, "upload-put") == [400]
