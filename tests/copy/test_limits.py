"""Runs between registries of which one is away, slow or limited."""

import asyncio
from functools import partial

import httpx
import pytest

from imageferry.config import load_text
from imageferry.copy.blob_move import BlobMove
from imageferry.copy.engine import Engine
from imageferry.copy.options import Options
from imageferry.copy.retries import retry_transient
from imageferry.registry.http import client
from imageferry.registry.http.aiohttp_transport import StreamingTransport
from imageferry.registry.limits.circuit_breaker import CircuitBreaker
from imageferry.registry.limits.outage import FAILURES_IN_A_ROW, PATIENCE_AT_FIRST, PROBE_EVERY
from imageferry.registry.limits.rate import RateLimiter
from imageferry.registry.limits.registry_limits import REQUESTS_AT_ONCE
from testkit.registries import actions
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured, errors, run
from tests.registry.limits.test_limiter import counted

TAGS = [f"v{number}" for number in range(500)]
LARGE = bytes(range(256)) * 8192


def from_each(source: str, destination: str) -> dict[str, str]:
    """One rule a tag: nothing is listed, and each stands for itself."""
    return {f"{source}/a/app:{tag}": f"{destination}/a/app" for tag in TAGS}


@pytest.mark.parametrize("away", ["source", "destination"])
async def test_500_tags_at_an_unreachable_registry_fail_after_few_attempts(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    fake_source.image("a/app", "v0")
    for tag in TAGS:
        fake_source.tag("a/app", tag, "v0")
        fake_destination.image("a/app", tag)
    images = from_each(fake_source.host, fake_destination.host)
    other = f"{fake_destination.host}/b/app"
    images[f"{fake_source.host}/b/app:v1"] = other
    fake_source.image("b/app", "v1")
    (fake_source if away == "source" else fake_destination).stop()
    attempts = counted(monkeypatch)
    with FakeRegistry() as there, FakeRegistry() as here:
        there.image("c/app", "v1")
        images[f"{there.host}/c/app:v1"] = f"{here.host}/c/app"
        report = await run(configured(images, fake_source, fake_destination, there, here))
        assert here.tags("c/app") == ["v1"]
    assert len(report.images) == 502
    assert report.totals.failed == 501
    assert sum("run again" in (image.error or "") for image in report.images) > 480
    working = fake_destination if away == "source" else fake_source
    tried = [port for port in attempts if port == (fake_source if away == "source" else fake_destination).host]
    assert 1 <= len(tried) <= REQUESTS_AT_ONCE + FAILURES_IN_A_ROW + PATIENCE_AT_FIRST / PROBE_EVERY + 1
    assert working.count("manifest-put") == 0


async def test_a_destination_that_is_unreachable_for_a_while_gets_everything(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch, waited: list[float]
) -> None:
    for number in range(40):
        fake_source.image("a/app", f"v{number}", [bytes([number]) * 5000])
    text = configured({f"{fake_source.host}/a/app": f"{fake_destination.host}/a/app"}, fake_source, fake_destination)
    real = CircuitBreaker._rest

    async def rest(changed: asyncio.Event, seconds: float | None) -> None:
        await real(changed, seconds)
        if sum(waited) > 20 and fake_destination.is_stopped:
            fake_destination.start()

    monkeypatch.setattr(CircuitBreaker, "_rest", staticmethod(rest))
    configuration = load_text(text, "config.json", environment={})
    async with Engine(configuration, Options(), mover=BlobMove.run, environment={}) as engine:
        jobs = await engine.plan(configuration.rules[0])
        fake_destination.stop()
        # As in a run: who fails before it is known that the registry is away comes back later.
        await asyncio.gather(*(retry_transient(partial(engine.copy, job), 3) for job in jobs))
        report = engine.outcomes.report()
    assert report.totals.copied == 40
    assert sum(waited) > 20


async def test_a_blob_may_take_longer_than_any_time_out(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", httpx.Timeout(3.0, pool=None))
    digest = fake_source.image("a/app", "v1", [LARGE])
    fake_source.rules.append(Fault("blob-get", actions.slowly(400_000)))
    text = configured({f"{fake_source.host}/a/app:v1": f"{fake_destination.host}/a/app"}, fake_source, fake_destination)
    assert errors(await run(text)) == {}
    assert fake_destination.digest("a/app", "v1") == digest
    # Five seconds in one piece, though a silence of three would have ended it.
    assert max(entry.ended - entry.started for entry in fake_source.log.entries("blob-get") if entry.ended) > 4.0
    assert fake_source.count("blob-get") == 2


async def test_connections_that_are_closed_after_each_answer_are_no_error(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    digest = fake_source.image("a/app", "v1", [b"one", b"two", b"three"])
    for registry in (fake_source, fake_destination):
        registry.rules.append(Fault(None, actions.then_close()))
    text = configured({f"{fake_source.host}/a/app:v1": f"{fake_destination.host}/a/app"}, fake_source, fake_destination)
    for _ in range(5):
        assert errors(await run(text, force=True)) == {}
        assert fake_destination.digest("a/app", "v1") == digest
        fake_destination.storage.repository("a/app").blobs.clear()


@pytest.mark.parametrize(("begun", "reads"), [(False, 1), (True, 2)])
async def test_an_upload_is_sent_again_where_nothing_of_it_was_taken(
    fake_source: FakeRegistry,
    fake_destination: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
    begun: bool,
    reads: int,
) -> None:
    digest = fake_source.image("a/app", "v1", [LARGE])
    real = StreamingTransport.handle_async_request
    sent: list[httpx.Request] = []

    async def break_first(self: StreamingTransport, request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH":
            sent.append(request)
            if len(sent) == 1:
                if begun:
                    await anext(aiter(request.stream))  # type: ignore[arg-type]
                raise httpx.ConnectError("")
        return await real(self, request)

    monkeypatch.setattr(StreamingTransport, "handle_async_request", break_first)
    text = configured({f"{fake_source.host}/a/app:v1": f"{fake_destination.host}/a/app"}, fake_source, fake_destination)
    assert errors(await run(text)) == {}
    assert fake_destination.digest("a/app", "v1") == digest
    assert len(sent) == 2
    # What was taken of the body and went nowhere is read anew.
    assert fake_source.count("blob-get") == 1 + reads


async def test_the_bandwidth_of_a_run_is_that_of_what_is_read(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[float] = []

    async def acquire(pace: RateLimiter, units: float = 1.0) -> None:
        passed.append(units)

    monkeypatch.setattr(RateLimiter, "acquire", acquire)
    fake_source.image("a/app", "v1", [LARGE])
    with FakeRegistry() as second:
        targets = [f"{fake_destination.host}/a/app", f"{second.host}/a/app"]
        text = configured({f"{fake_source.host}/a/app:v1": targets}, fake_source, fake_destination, second)
        report = await run(text, bandwidth=1_000_000)
    assert errors(report) == {}
    # Two destinations, one read; pings and other short answers beside it.
    assert report.totals.bytes_written == 2 * report.totals.bytes_read
    assert report.totals.bytes_read <= sum(passed) <= report.totals.bytes_read + 100
    assert max(passed) <= 1_000_000 / 8


@pytest.mark.parametrize("limited", ["source", "destination"])
async def test_a_limited_bandwidth_is_no_stall(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch, limited: str
) -> None:
    monkeypatch.setattr("imageferry.copy.upload_stream.STALL_LIMIT", 3.0)
    digest = fake_source.image("a/app", "v1", [LARGE])
    host = (fake_source if limited == "source" else fake_destination).host
    text = configured(
        {f"{fake_source.host}/a/app:v1": f"{fake_destination.host}/a/app"},
        fake_source,
        fake_destination,
        registries={host: {"bandwidth": 400_000}},
    )
    # Five seconds for the blob, an eighth of one for each piece.
    assert errors(await run(text)) == {}
    assert fake_destination.digest("a/app", "v1") == digest
    blob = next(entry for entry in fake_destination.log.entries("upload-patch"))
    assert blob.ended is not None
    assert blob.ended - blob.started > 4.0


async def test_a_limit_of_one_request_moves_blobs_one_by_one(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for number in range(4):
        fake_source.image("a/app", f"v{number}", [bytes([number]) + LARGE])
    fake_destination.rules.append(Fault("upload-patch", actions.delay(0.1)))
    text = configured(
        {f"{fake_source.host}/a/app": f"{fake_destination.host}/a/app"},
        fake_source,
        fake_destination,
        registries={fake_destination.host: {"requests": 1}},
    )
    configuration = load_text(text, "config.json", environment={})
    async with Engine(configuration, Options(), mover=BlobMove.run, environment={}) as engine:
        jobs = await engine.plan(configuration.rules[0])
        await asyncio.gather(*(engine.copy(job) for job in jobs))
    assert len(fake_destination.tags("a/app")) == 4
    assert fake_destination.peak("upload-patch") == 1
    assert fake_destination.peak("manifest-head", "blob-head", "upload-start", "manifest-put", "upload-put") == 1
