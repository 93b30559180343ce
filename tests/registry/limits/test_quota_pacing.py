"""Quota pacing alone: requests are spread while little is left, and no longer."""

import asyncio

import pytest

from imageferry.registry.limits.quota import Quota
from imageferry.registry.limits.quota_pacing import QuotaPacing
from imageferry.report.waits import Waits

LITTLE = Quota(remaining=5, limit=100, seconds=50.0, rolling=False)


@pytest.fixture
def waits() -> Waits:
    """What is waited for."""
    return Waits()


@pytest.fixture
def pacing(waits: Waits) -> QuotaPacing:
    """A pacing that has seen no quota."""
    return QuotaPacing("x.example", waits)


async def finished(task: asyncio.Task[None]) -> bool:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task.done()


async def test_without_a_quota_nobody_waits(pacing: QuotaPacing) -> None:
    async with asyncio.timeout(1):
        await pacing.wait()


async def test_the_first_goes_at_once_and_the_next_keeps_its_distance(pacing: QuotaPacing, waits: Waits) -> None:
    pacing.renew(LITTLE)
    async with asyncio.timeout(1):
        await pacing.wait()
    following = asyncio.create_task(pacing.wait())
    assert not await finished(following)
    (wait,) = waits.now()
    assert wait.reason == "its request limit is nearly used up"
    following.cancel()


async def test_with_plenty_again_nobody_waits(pacing: QuotaPacing) -> None:
    pacing.renew(LITTLE)
    await pacing.wait()
    following = asyncio.create_task(pacing.wait())
    assert not await finished(following)
    pacing.end()
    async with asyncio.timeout(10):
        await following
        await pacing.wait()


async def test_when_its_window_has_passed_nobody_waits(pacing: QuotaPacing, waited: list[float]) -> None:
    pacing.renew(LITTLE)
    await pacing.wait()
    waited.append(51.0)
    assert pacing.is_over
    async with asyncio.timeout(1):
        await pacing.wait()
