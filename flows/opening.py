"""The engine for a flow: the one that its caller has opened, or one of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from flows.stored import configuration_of
from imageferry.copy.ferry import Ferry
from imageferry.copy.options import Options
from imageferry.selection import PlatformFilter
from tasks.blobs import move
from tasks.current import Current, find_current, set_current
from tasks.logs import drop_known_tracebacks


@contextlib.asynccontextmanager
async def opened(
    config: str, *, force: bool = False, dry_run: bool = False, platforms: Sequence[str] | None = None
) -> AsyncIterator[Current]:
    """Give the run of this context, or open one for the configuration and close it at the end.

    Raises ``ConfigurationError`` for one that cannot be used.
    """
    drop_known_tracebacks()
    run = find_current()
    if run is not None:
        yield run
        return
    options = Options(force=force, dry_run=dry_run, platforms=PlatformFilter.parse(platforms or ()))
    async with Ferry(await configuration_of(config), options) as ferry:
        yield begin(ferry)


def begin(ferry: Ferry) -> Current:
    """Make this engine the one of the run, with its blobs moved as tasks."""
    ferry.deliveries.move = move
    run = Current(ferry)
    set_current(run)
    return run
