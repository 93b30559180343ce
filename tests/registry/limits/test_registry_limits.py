"""The limits that a person sets: requests at once and a second, bytes a second."""

import asyncio
import itertools
import time

import pytest

from imageferry.config import load_text
from imageferry.model import Limits
from imageferry.registry.http.aiohttp_transport import READ_SIZE
from imageferry.registry.limits.rate import RateLimiter
from imageferry.registry.limits.registry_limits import SMALLEST_PIECE, RegistryLimits, RunLimits
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.auth import Bearer
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from tests.registry.opening import access, opened

BLOB = bytes(range(256)) * 1024


class Clock:
    """A clock that goes on by what is slept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_a_pace_gives_each_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    pace = RateLimiter(4.0)
    assert [pace.reserve() for _ in range(4)] == [0.0, 0.25, 0.5, 0.75]
    assert pace.reserve(8) == 1.0
    clock.now += 3.0
    assert pace.reserve() == 0.0
    # What nobody took is gone: there is no rush after a quiet time.
    clock.now += 100.0
    assert [pace.reserve(), pace.reserve()] == [0.0, 0.25]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """What passed each pace: its rate and the units; none waits."""
    passed: list[tuple[float, float]] = []

    async def acquire(pace: RateLimiter, units: float = 1.0) -> None:
        passed.append((pace.rate, units))

    monkeypatch.setattr(RateLimiter, "acquire", acquire)
    return passed


async def test_every_request_to_the_registry_takes_its_turn(
    fake_source: FakeRegistry, taken: list[tuple[float, float]]
) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-get", actions.refuse(503, "BUSY"), times=2))
    async with opened(fake_source.host, limits=RegistryLimits(Limits(requests_per_second=5.0))) as repository:
        await repository.manifests.head("v1")
        await repository.manifests.get("v1")
        await repository.tags.all()
    # Each try is a request, as is the one that finds no TLS there.
    assert taken == [(5.0, 1.0)] * (len(fake_source.log) + 1)
    assert fake_source.counts() == {"ping": 1, "manifest-head": 1, "manifest-get": 3, "tags": 1}


async def test_requests_a_second_are_kept(fake_source: FakeRegistry) -> None:
    fake_source.image("a/app", "v1")
    async with opened(fake_source.host, limits=RegistryLimits(Limits(requests_per_second=20.0))) as repository:
        await asyncio.gather(*(repository.manifests.head("v1") for _ in range(12)))
    begun = [entry.started for entry in fake_source.log.entries()]
    # Late they may come on a busy machine, but never so early: 12 take 11 gaps.
    assert begun[-1] - begun[0] > 0.4
    assert len(begun) == 13


async def test_token_requests_elsewhere_take_no_turn(taken: list[tuple[float, float]]) -> None:
    with FakeRegistry(address="127.0.0.2") as tokens, FakeRegistry() as registry:
        registry.auth = tokens.auth = Bearer({"u": "p"}, realm=f"{tokens.url}/token")
        registry.image("a/app", "v1")
        limits = RegistryLimits(Limits(requests_per_second=5.0))
        others = frozenset({"127.0.0.2"})
        async with opened(registry.host, entry=access("u", "p"), limits=limits, insecure_hosts=others) as repository:
            await repository.manifests.head("v1")
        assert tokens.count("token") == 1
        assert len(taken) == len(registry.log) + 1


async def test_what_is_read_takes_its_time(fake_source: FakeRegistry, taken: list[tuple[float, float]]) -> None:
    digest = fake_source.add_blob("a/app", BLOB)
    run = RateLimiter(9_000_000.0)
    async with opened(fake_source.host, limits=RegistryLimits(Limits(bandwidth=80_000), run)) as repository:
        await repository.client.origin("")
        taken.clear()
        async with repository.blobs.open(digest) as answer:
            pieces = [piece async for piece in answer.aiter_raw()]
    assert b"".join(pieces) == BLOB
    assert max(map(len, pieces)) <= 10_000
    # Each piece passes the registry's pace, then the run's.
    assert taken == list(itertools.chain(*(((80_000, len(piece)), (9_000_000.0, len(piece))) for piece in pieces)))


async def test_what_is_not_limited_is_read_in_large_pieces(fake_source: FakeRegistry) -> None:
    digest = fake_source.add_blob("a/app", BLOB * 16)
    async with opened(fake_source.host) as repository, repository.blobs.open(digest) as answer:
        assert max([len(piece) async for piece in answer.aiter_raw()]) > READ_SIZE // 8


async def test_what_is_sent_takes_its_time(fake_destination: FakeRegistry, taken: list[tuple[float, float]]) -> None:
    limits = RegistryLimits(Limits(bandwidth=80_000), RateLimiter(9_000_000.0))
    async with opened(fake_destination.host, writable=True, limits=limits) as repository:
        await repository.client.origin("")
        taken.clear()
        upload = await repository.uploads.start(sha256(BLOB))
        await upload.put(BLOB)
    # What the run may read is no limit of what it sends.
    assert taken == [(80_000, len(BLOB))]
    assert fake_destination.blob("a/app", sha256(BLOB)) == BLOB


def run_limits(registries: str, bandwidth: int | None = None) -> RunLimits:
    text = f"registries: {registries}\nimages: {{b: x.example/b}}\n"
    configuration = load_text(text, "c.yaml", environment={})
    return RunLimits(configuration.settings_of, configuration.registries.values(), bandwidth)


def test_all_who_talk_to_a_registry_share_its_limits() -> None:
    found = run_limits("{quay.io: {bandwidth: 8000}}", 16_000)
    assert found.of("quay.io") is found.of("quay.io")
    assert found.of("quay.io").download[1] is found.of("x.example").download[0]
    assert [pace.rate for pace in found.of("quay.io").upload] == [8000]
    assert found.of("x.example").upload == ()


def test_without_limits_there_is_nothing_in_the_way() -> None:
    found = run_limits("{}").of("quay.io")
    assert (found.download, found.upload, found.requests, found.blobs) == ((), (), None, None)


@pytest.mark.parametrize(("rate", "piece"), [(80_000, 10_000), (1000, SMALLEST_PIECE)])
def test_the_slowest_says_how_much_is_read_at_once(rate: int, piece: int) -> None:
    assert run_limits(f"{{quay.io: {{bandwidth: {rate}}}}}", 10**9).of("x.example").piece == piece


async def test_blobs_at_a_registry_are_bounded_and_never_wait_for_each_other() -> None:
    found = run_limits("{a.example: {requests: 1}, b.example: {requests: 1}}")
    moved: list[str] = []
    at_once = {"a.example": 0, "b.example": 0, "c.example": 0}
    peaks = dict(at_once)

    async def move(*registries: str) -> None:
        async with found.blob(registries):
            for registry in set(registries):
                at_once[registry] += 1
                peaks[registry] = max(peaks[registry], at_once[registry])
            await asyncio.sleep(0)
            for registry in set(registries):
                at_once[registry] -= 1
            moved.append(" ".join(registries))

    async with asyncio.timeout(20):
        await asyncio.gather(
            *(move("a.example", "b.example") for _ in range(10)),
            *(move("b.example", "a.example") for _ in range(10)),
            *(move("a.example", "a.example") for _ in range(10)),
            *(move("c.example") for _ in range(10)),
        )
    assert len(moved) == 40
    assert peaks == {"a.example": 1, "b.example": 1, "c.example": 10}
