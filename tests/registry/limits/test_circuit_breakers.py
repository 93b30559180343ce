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
from imageferry.registry.limits.rate_limit_hold import (
    ADDRESS_GIVEN_UP,
    ASK_AGAIN,
    FRESH_PROBES_IF_LONG,
    LONGEST_WAIT,
    PATIENCE_WITH_LIMIT,
    RateLimitHold,
    RefusedAddresses,
)
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


async def test_what_was_not_refused_is_asked_first_when_the_pause_is_over(
    hold: RateLimitHold, waited: list[float]
) -> None:
    hold.record_refusal(30.0, CircuitBreaker.clock(), "GET /a")
    refused = asyncio.create_task(hold.wait_for_turn("GET /a"))
    other = asyncio.create_task(hold.wait_for_turn("GET /b"))
    assert await other is True
    assert not refused.done()
    # It found nothing out: now the one that gave way may ask.
    hold.release_probe()
    assert await refused is True


async def test_who_gave_way_to_one_that_is_gone_asks_itself(hold: RateLimitHold, waited: list[float]) -> None:
    hold.record_refusal(30.0, CircuitBreaker.clock(), "GET /a")
    other = asyncio.create_task(hold.wait_for_turn("GET /b"))
    refused = asyncio.create_task(hold.wait_for_turn("GET /a"))
    await asyncio.sleep(0)
    other.cancel()
    async with asyncio.timeout(5):
        assert await refused is True


async def test_a_limit_that_is_given_up_is_confirmed_by_few_others(hold: RateLimitHold) -> None:
    with pytest.raises(LimitReached):
        hold.record_refusal(LONGEST_WAIT + 1, CircuitBreaker.clock(), "GET /0")
    with pytest.raises(LimitReached):
        await hold.wait_for_turn("GET /0")
    for number in range(1, FRESH_PROBES_IF_LONG + 1):
        assert await hold.wait_for_turn(f"GET /{number}") is True
        with pytest.raises(LimitReached):
            hold.record_refusal(LONGEST_WAIT + 1, CircuitBreaker.clock(), f"GET /{number}")
        hold.release_probe()
    with pytest.raises(LimitReached):
        await hold.wait_for_turn("GET /new")


def test_what_is_refused_while_others_are_answered_is_refused_for_itself(waited: list[float]) -> None:
    refused = RefusedAddresses("x.example")
    outcomes = []
    for number in range(5):
        outcomes.append(refused.record_refusal("GET /a"))
        waited.append(1.0)
        refused.record_answer(f"GET /{number}", CircuitBreaker.clock())
        waited.append(1.0)
    assert outcomes == [False, False, True, True, True]
    # What was sent before the refusal says nothing, nor does what is refused too.
    assert [refused.record_refusal("GET /b") for _ in range(5)] == [False] * 5
    refused.record_answer("GET /a", CircuitBreaker.clock())
    assert refused.record_refusal("GET /a") is False


def test_an_address_that_is_refused_for_itself_is_given_up_but_asked_now_and_then(waited: list[float]) -> None:
    refused = RefusedAddresses("x.example")
    for _ in range(ADDRESS_GIVEN_UP):
        refused.check("GET /v2/a/blobs/b")
        refused.record_refusal("GET /v2/a/blobs/b")
        waited.append(1.0)
        refused.record_answer("GET /other", CircuitBreaker.clock())
        waited.append(1.0)
    with pytest.raises(LimitReached, match=r"ask x\.example for /v2/a/blobs/b: .* though others are answered"):
        refused.check("GET /v2/a/blobs/b")
    waited.append(ASK_AGAIN)
    refused.check("GET /v2/a/blobs/b")
    with pytest.raises(LimitReached):
        refused.check("GET /v2/a/blobs/b")
