"""The breakers alone: when they open, who waits behind a probe, and who is refused."""

import asyncio

import httpx
import pytest

from imageferry.registry.errors import LimitReached, RegistryDown
from imageferry.registry.limits.circuit_breaker import CircuitBreaker
from imageferry.registry.limits.outage import (
    FAILURES_IN_A_ROW,
    PROBE_EVERY,
    PROBE_WHEN_GIVEN_UP,
    OutageBreaker,
    is_failure,
)
from imageferry.registry.limits.rate_limit_hold import LONGEST_WAIT, PATIENCE_WITH_LIMIT, RateLimitHold
from imageferry.report.waits import Waits


@pytest.fixture
def outage() -> OutageBreaker:
    """The breaker of a host that works."""
    return OutageBreaker("x.example", Waits())


@pytest.fixture
def hold() -> RateLimitHold:
    """The breaker of a host that has refused nothing."""
    return RateLimitHold("x.example", Waits())


def fail(outage: OutageBreaker, times: int, patience: float = 60.0) -> None:
    for _ in range(times):
        outage.record_failure("the connection is refused", patience)


async def test_a_breaker_opens_after_failures_in_a_row(outage: OutageBreaker) -> None:
    fail(outage, FAILURES_IN_A_ROW - 1)
    outage.record_answer()
    fail(outage, FAILURES_IN_A_ROW - 1)
    assert not outage.is_open
    assert await outage.wait_while_open() is False
    fail(outage, 1)
    assert outage.is_open
    assert outage.seconds_left == pytest.approx(60.0, abs=5.0)


async def test_one_probe_goes_ahead_and_the_others_wait_for_its_outcome(
    outage: OutageBreaker, waited: list[float]
) -> None:
    fail(outage, FAILURES_IN_A_ROW)
    assert await outage.wait_while_open() is True
    assert waited == [pytest.approx(PROBE_EVERY, abs=0.5)]
    others = [asyncio.create_task(outage.wait_while_open()) for _ in range(5)]
    await asyncio.sleep(0)
    assert not any(other.done() for other in others)
    outage.record_answer()
    assert await asyncio.gather(*others) == [False] * 5


async def test_a_probe_that_found_nothing_out_leaves_the_way_to_one_other(outage: OutageBreaker) -> None:
    fail(outage, FAILURES_IN_A_ROW)
    assert await outage.wait_while_open() is True
    others = [asyncio.create_task(outage.wait_while_open()) for _ in range(3)]
    await asyncio.sleep(0)
    outage.release_probe()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sorted(other.result() for other in others if other.done()) == [True]
    outage.record_answer()
    assert sorted(await asyncio.gather(*others)) == [False, False, True]


async def test_a_host_that_stays_down_is_given_up_but_probed(outage: OutageBreaker, waited: list[float]) -> None:
    fail(outage, FAILURES_IN_A_ROW)
    waited.append(60.0)
    fail(outage, 1)
    assert outage.open_for_good
    with pytest.raises(RegistryDown, match="the connection is refused, for 1 min 0 s now"):
        await outage.wait_while_open()
    waited.append(PROBE_WHEN_GIVEN_UP)
    assert await outage.wait_while_open() is True
    with pytest.raises(RegistryDown):
        await outage.wait_while_open()
    outage.record_answer()
    assert await outage.wait_while_open() is False


async def test_who_cleans_up_does_not_wait(hold: RateLimitHold) -> None:
    hold.record_refusal(5.0, CircuitBreaker.clock())
    with pytest.raises(LimitReached, match="not tried again before"):
        await hold.wait_while_open(patient=False)


def test_the_longest_pause_that_was_asked_for_counts(hold: RateLimitHold) -> None:
    hold.record_refusal(100.0, CircuitBreaker.clock())
    hold.record_refusal(5.0, CircuitBreaker.clock())
    assert hold.seconds_left == pytest.approx(100.0, abs=5.0)


def test_pauses_grow_while_a_registry_refuses_and_does_not_say_how_long(
    hold: RateLimitHold, waited: list[float]
) -> None:
    for number in range(6):
        hold.record_refusal(None, CircuitBreaker.clock())
        assert 0.4 * 0.5 * 2**number <= hold.seconds_left <= 0.5 * 2**number
        waited.append(hold.seconds_left + 0.1)


def test_requests_that_were_under_way_at_the_refusal_add_nothing(hold: RateLimitHold) -> None:
    sent_at = CircuitBreaker.clock() - 1.0
    for _ in range(10):
        hold.record_refusal(None, sent_at)
    assert hold.seconds_left <= 0.5


def test_a_pause_that_is_too_long_is_refused_at_once(hold: RateLimitHold) -> None:
    with pytest.raises(LimitReached, match="run again then"):
        hold.record_refusal(LONGEST_WAIT + 1, CircuitBreaker.clock())
    assert hold.open_for_good


def test_a_registry_that_refuses_for_minutes_is_given_up(hold: RateLimitHold, waited: list[float]) -> None:
    hold.record_refusal(10.0, CircuitBreaker.clock())
    assert not hold.open_for_good
    waited.append(PATIENCE_WITH_LIMIT)
    hold.record_refusal(10.0, CircuitBreaker.clock())
    assert hold.open_for_good


@pytest.mark.parametrize(
    ("method", "status", "body", "failure"),
    [
        ("GET", 502, b"", True),
        ("HEAD", 503, b"", True),
        ("GET", 504, b"", True),
        ("GET", 500, b"", True),
        # Quay and Nexus: a repository that does not exist; HEAD does not say which 500 it is.
        ("GET", 500, b'{"errors": [{"code": "NAME_UNKNOWN"}]}', False),
        ("HEAD", 500, b"", False),
        ("GET", 429, b"", False),
        ("GET", 404, b"", False),
        ("GET", 200, b"", False),
    ],
)
def test_which_answers_say_that_a_registry_does_not_work(method: str, status: int, body: bytes, failure: bool) -> None:
    request = httpx.Request(method, "https://x.example/v2/a/manifests/v1")
    assert is_failure(request, httpx.Response(status, content=body, request=request)) is failure
