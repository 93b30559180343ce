"""Work side by side, with a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


async def for_each(items: Iterable[Item], limit: int, work: Callable[[Item], Awaitable[None]]) -> None:
    """Do the work for every item, ``limit`` at the same time; coroutines are made as places become free.

    The first exception cancels what is under way and is raised as it is: work that may fail catches its own.
    """
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    workers = [asyncio.create_task(worker()) for _ in range(limit)]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            # Once is enough: a second time would break off what they do to end well.
            if not task.cancelling():
                task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
