"""Bounded concurrency, and how work is stopped."""

from __future__ import annotations

import asyncio
import time

import pytest

from imageferry.concurrency import for_each, until_stopped


async def test_so_many_items_are_worked_on_at_a_time() -> None:
    active, most, done = 0, 0, list[int]()

    async def work(item: int) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0)
        active -= 1
        done.append(item)

    await for_each(range(20), 3, work)
    assert (sorted(done), most) == (list(range(20)), 3)


async def test_the_first_error_cancels_the_rest_and_is_raised_as_it_is() -> None:
    begun, cleaned = list[int](), list[int]()

    async def work(item: int) -> None:
        begun.append(item)
        if item == 1:
            raise ValueError("no")
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.append(item)

    with pytest.raises(ValueError, match="no"):
        await for_each(range(9), 2, work)
    assert (begun, cleaned) == ([0, 1], [0])


async def test_work_that_ends_by_itself_is_not_stopped() -> None:
    stop, done = asyncio.Event(), list[str]()

    async def work() -> None:
        await asyncio.sleep(0)
        done.append("all")

    assert not await until_stopped(stop, work())
    assert done == ["all"]


async def test_the_error_of_work_that_is_not_stopped_is_raised() -> None:
    async def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await until_stopped(asyncio.Event(), work())


async def test_stopped_work_has_its_grace_to_end_by_itself() -> None:
    stop, done = asyncio.Event(), list[str]()

    async def work() -> None:
        stop.set()
        await asyncio.sleep(0.05)
        done.append("all")

    assert await until_stopped(stop, work(), grace=10.0)
    assert done == ["all"]


async def test_stopped_work_is_cancelled_and_its_error_is_dropped() -> None:
    stop, cleaned = asyncio.Event(), list[str]()

    async def work() -> None:
        stop.set()
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append("all")
            raise ValueError("in the cleanup")

    assert await until_stopped(stop, work())
    assert cleaned == ["all"]


async def test_work_that_does_not_end_when_cancelled_is_left_after_the_limit() -> None:
    stop, release = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        stop.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await release.wait()

    begun = time.monotonic()
    assert await until_stopped(stop, work(), 0.05)
    assert time.monotonic() - begun < 10
    release.set()
    await asyncio.sleep(0)
