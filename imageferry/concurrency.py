"""Work side by side, with a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

Item = TypeVar("Item")

#: Seconds in which work that is stopped may end what it dropped.
DROP_LIMIT = 5.0


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


async def until_stopped(
    stop: asyncio.Event, work: Coroutine[Any, Any, Any], limit: float = DROP_LIMIT, *, grace: float = 0.0
) -> bool:
    """Do the work unless ``stop`` is set first. Gives whether it was stopped.

    Then it has ``grace`` seconds to end by itself, is cancelled, and has ``limit`` seconds to end what it dropped.
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
        # It is stopped: how it ended is of no interest.
        working.exception()
    return stopped
