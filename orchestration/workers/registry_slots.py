"""A slot for one more rule at a registry: Prefect's global concurrency limits, which hold over all workers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLeaseHolder
from prefect.concurrency.asyncio import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

from orchestration.run_context import RunContext
from orchestration.server.monitor import ServerLost

logger = logging.getLogger("imageferry.slots")

# Seconds for which a slot stays taken by a run that is gone. Prefect renews it for one that is there.
LEASE = 120.0

# Seconds after which a run logs what it waits for.
LOG_WAIT_AFTER = 5.0

# Seconds in which a slot is given back.
GIVE_BACK_LIMIT = 3.0


def limit_name(registry: str) -> str:
    """Return the name of a registry's limit; Prefect allows no slash in it."""
    return f"imageferry:{registry}"


@contextlib.asynccontextmanager
async def slots(run: RunContext, registries: Iterable[str]) -> AsyncIterator[None]:
    """Hold one slot of each registry's limit while the context is entered; of those only that there is a limit of.

    Where Prefect's server is lost, the work goes on without.
    """
    names = await _existing(run, [limit_name(registry) for registry in registries])
    if not names:
        yield
        return
    taken, done = asyncio.Event(), asyncio.Event()
    # In a task of its own: a slot that is lost or not given back must not break off the copying.
    holding = asyncio.create_task(_hold(names, taken, done))
    try:
        with contextlib.suppress(ServerLost):
            await run.monitor.wait(_wait(taken, names))
        yield
    finally:
        done.set()
        if not taken.is_set():
            holding.cancel()
        await asyncio.wait({holding}, timeout=GIVE_BACK_LIMIT)
        holding.cancel()


async def _hold(names: list[str], taken: asyncio.Event, done: asyncio.Event) -> None:
    holder = ConcurrencyLeaseHolder(type="flow_run", id=UUID(flow_run.id))
    try:
        async with concurrency(names, lease_duration=LEASE, strict=False, holder=holder):
            taken.set()
            await done.wait()
    except Exception as error:
        logger.warning("no limit holds for %s: %s: %s", " and ".join(names), type(error).__name__, error)
    finally:
        taken.set()


async def _wait(taken: asyncio.Event, names: list[str]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOG_WAIT_AFTER):
            await taken.wait()
            return
    # Not less than a warning, which Prefect would not show: the run seems to do nothing.
    logger.warning("waits for a slot of the concurrency limit %s, which other runs have taken", " or ".join(names))
    await taken.wait()


async def _existing(run: RunContext, names: list[str]) -> list[str]:
    """Return those of the limits that there are: Prefect warns in each run of one that is not."""
    found = []
    try:
        async with get_client() as client:
            run.monitor.guard(client)
            for name in names:
                with contextlib.suppress(ObjectNotFound):
                    await client.read_global_concurrency_limit_by_name(name)
                    found.append(name)
    except (ServerLost, httpx.HTTPError, RuntimeError) as error:
        logger.info("the concurrency limits cannot be asked for: %s: %s", type(error).__name__, error)
    return found
