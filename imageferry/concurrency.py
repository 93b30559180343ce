"""Bounded concurrency, and work that can be stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

Item = TypeVar("Item")

# Seconds that cancelled work has to clean up.
DROP_LIMIT = 5.0


async def for_each(items: Iterable[Item], limit: int, work: Callable[[Item], Awaitable[None]]) -> None:
    """Do the work for every item, ``limit`` of them at a time; a coroutine is only created when it can start.

    The first exception cancels the work in progress and is raised as it is, in no group: work that may fail must catch
    its own errors.
    """
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    await _run_side_by_side(worker, limit)


async def for_each_arriving(items: AsyncIterator[Item], limit: int, work: Callable[[Item], Awaitable[None]]) -> None:
    """Do the work for every item as it arrives, ``limit`` of them at a time; see ``for_each`` for exceptions."""
    taking = asyncio.Lock()

    async def worker() -> None:
        while True:
            async with taking:
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
            await work(item)

    await _run_side_by_side(worker, limit)


async def _run_side_by_side(worker: Callable[[], Coroutine[Any, Any, None]], count: int) -> None:
    """Run so many workers; the first exception cancels the others and is raised."""
    workers = [asyncio.create_task(worker()) for _ in range(count)]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            # Only once: a second cancellation would interrupt their cleanup.
            if not task.cancelling():
                task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def until_stopped(
    stop: asyncio.Event, work: Coroutine[Any, Any, Any], limit: float = DROP_LIMIT, *, grace: float = 0.0
) -> bool:
    """Do the work until it ends or ``stop`` is set. Return whether it was stopped.

    Stopped work has ``grace`` seconds to end by itself; then it is cancelled, and has ``limit`` seconds to clean up.
    Raises what the work raises, unless it was stopped.
    """
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopped = not working.done()
        if stopped and grace:
            await asyncio.wait({working}, timeout=grace)
    finally:
        stopping.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working}, timeout=limit)
    if not stopped:
        working.result()
    elif working.done() and not working.cancelled():
        # How stopped work ended does not matter; asyncio would log an exception that nobody has seen.
        working.exception()
    return stopped
