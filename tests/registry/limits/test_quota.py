"""What registries say of their request limits, and that a run slows down before it meets one."""

import asyncio
import time

import httpx
import pytest

from imageferry.registry.errors import Unavailable
from imageferry.registry.limits.quota import LITTLE_OF_UNKNOWN, LONGEST_GAP, Quota, read_quota
from imageferry.registry.limits.rate import RateLimiter
from imageferry.report.waits import Wait, Waits
from testkit.registries import actions
from testkit.registries.exchange import Reply
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from tests.registry.opening import opened

NOW = 1_750_000_000.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            {"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "76;w=21600"},
            Quota(76, 100, 21_600.0, rolling=True),
        ),
        ({"ratelimit-remaining": "76; w=21600"}, Quota(76, None, 21_600.0, rolling=True)),
        ({"RateLimit-Limit": "100;w=60", "RateLimit-Remaining": "7"}, Quota(7, 100, 60.0, rolling=True)),
        (
            {"RateLimit-Limit": "100", "RateLimit-Remaining": "50", "RateLimit-Reset": "30"},
            Quota(50, 100, 30.0, rolling=False),
        ),
        ({"RateLimit": "limit=100, remaining=50, reset=30"}, Quota(50, 100, 30.0, rolling=False)),
        (
            {"RateLimit": '"default";r=50;t=30', "RateLimit-Policy": '"default";q=100;w=10'},
            Quota(50, 100, 30.0, rolling=False),
        ),
        (
            {"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW) + 90)},
            Quota(0, 60, 90.0, rolling=False),
        ),
        ({"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": str(int(NOW) - 90)}, Quota(5, None, 0.0, rolling=False)),
        ({}, None),
        ({"RateLimit-Remaining": "76"}, None),
        ({"RateLimit-Limit": "100;w=21600"}, None),
        ({"RateLimit-Remaining": "many;w=60"}, None),
        ({"RateLimit-Remaining": "-5;w=60"}, None),
        ({"RateLimit-Remaining": "٣;w=60".encode().decode("latin-1")}, None),
        ({"RateLimit": "soon"}, None),
        ({"Content-Length": "7"}, None),
    ],
)
def test_what_is_left(headers: dict[str, str], expected: Quota | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    assert (
        read_quota(httpx.Headers([(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()])) == expected
    )


@pytest.mark.parametrize(
    ("remaining", "limit", "seconds", "gap"),
    [
        (76, 100, 21_600, 0.0),
        (11, 100, 60, 0.0),
        (10, 100, 60, 6.0),
        (1, 100, 60, 60.0),
        (0, 100, 30, 30.0),
        (10, 100, 21_600, LONGEST_GAP),
        (0, 100, 10**14, LONGEST_GAP),
        (5, 100, 0, 0.0),
        (LITTLE_OF_UNKNOWN + 1, None, 60, 0.0),
        (LITTLE_OF_UNKNOWN, None, 60, 6.0),
        (0, 0, 60, 60.0),
    ],
)
def test_a_small_rest_is_spread(remaining: int, limit: int | None, seconds: float, gap: float) -> None:
    assert Quota(remaining, limit, seconds, rolling=False).interval == gap


@pytest.fixture
def reserved(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds by which requests are set apart; none of them waits."""
    gaps: list[float] = []

    def reserve(pace: RateLimiter, units: float = 1.0) -> float:
        gaps.append(units)
        return 0.0

    monkeypatch.setattr(RateLimiter, "reserve", reserve)
    return gaps


def counting_down(remaining: int, window: int) -> actions.Change:
    left = [remaining]

    def tell(reply: Reply) -> None:
        left[0] -= 1
        reply.set("RateLimit-Limit", f"100;w={window}")
        reply.set("RateLimit-Remaining", f"{left[0]};w={window}")

    return tell


async def test_pulls_slow_down_before_the_wall_and_heads_do_not(
    fake_source: FakeRegistry, reserved: list[float]
) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-get", actions.change(counting_down(15, 120))))
    fake_source.rules.append(Fault("manifest-head", actions.with_header("RateLimit-Remaining", "1;w=21600")))
    async with opened(fake_source.host) as repository:
        for _ in range(5):
            await repository.manifests.get("v1")
            await repository.manifests.head("v1")
            await repository.tags.all()
        assert reserved == []
        for _ in range(3):
            await repository.manifests.get("v1")
            await repository.manifests.head("v1")
            await repository.tags.all()
    # 10 are left of 100, then 9, then 8: each pull keeps the distance by which they last for two minutes.
    assert reserved == [12.0, pytest.approx(120 / 9), 15.0]


async def test_with_plenty_again_nothing_is_slow(fake_source: FakeRegistry, reserved: list[float]) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-get", actions.with_header("RateLimit", "limit=9, remaining=0, reset=0")))
    fake_source.rules.append(
        Fault("manifest-get", actions.with_header("RateLimit", "limit=9, remaining=1, reset=5"), times=1)
    )
    async with opened(fake_source.host) as repository:
        for _ in range(5):
            await repository.manifests.get("v1")
        assert repository.client.limiter.is_clear
    assert len(reserved) <= 1


async def test_nothing_left_is_waited_for_and_told(fake_source: FakeRegistry, waited: list[float]) -> None:
    fake_source.image("a/app", "v1")
    nothing = actions.with_header("RateLimit", "limit=100, remaining=0, reset=40")
    fake_source.rules.append(Fault("manifest-get", nothing, times=1))
    waits, told = Waits(), list[Wait]()
    waits.listeners.append(told.append)
    async with opened(fake_source.host, waits=waits) as repository:
        await repository.manifests.get("v1")
        assert waited == []
        await asyncio.gather(*(repository.manifests.get("v1") for _ in range(3)))
    assert round(waited[0]) == 40
    assert told
    assert told[0].until == pytest.approx(time.time() + 40, abs=30)
    assert fake_source.count("manifest-get") == 4


async def test_a_registry_without_limits_costs_nothing(fake_source: FakeRegistry, reserved: list[float]) -> None:
    fake_source.image("a/app", "v1")
    async with opened(fake_source.host) as repository:
        for _ in range(3):
            await repository.manifests.head("v1")
            await repository.manifests.get("v1")
    assert reserved == []


async def test_a_limit_that_is_reached_all_the_same_is_told(fake_source: FakeRegistry, reserved: list[float]) -> None:
    fake_source.rules.append(Fault("manifest-get", actions.too_many()))
    async with opened(fake_source.host) as repository:
        with pytest.raises(Unavailable, match="429"):
            await repository.manifests.get("v1")
