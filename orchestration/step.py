"""A step of a run with a task run or subflow of its own, where Prefect can give it one; the step is done either way."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from imageferry.copy.errors import Interrupted
from imageferry.errors import ImageferryError
from orchestration.run_context import RunContext

logger = logging.getLogger("imageferry.history")


class UnexpectedError(ImageferryError):
    """A fault of ours within a step: it must not look like one of Prefect's."""


async def as_engine_error(work: Awaitable[None]) -> None:
    """Await the work of a task run, so that whatever it raises is an ``ImageferryError``."""
    try:
        await work
    except ImageferryError:
        raise
    except Exception as error:
        raise UnexpectedError(f"unexpected {type(error).__name__}: {error}") from error


async def run_tracked(
    run: RunContext, recorded: Callable[[], Awaitable[object]], without: Callable[[], Awaitable[None]]
) -> None:
    """Do a step as ``recorded`` does, a task run or subflow; where Prefect fails it, as ``without`` does.

    ``without`` must leave alone what ``recorded`` has done. Raises the step's own ``ImageferryError``.
    """
    if run.monitor.lost:
        run.recorder.untracked += 1
        await without()
        return
    await run.recorder.task_started()
    try:
        await recorded()
    except ImageferryError:
        raise
    except Exception as error:
        logger.info("Prefect could not keep a step: %s: %s", type(error).__name__, error)
        run.recorder.task_untracked()
        if run.stop.is_set():
            raise Interrupted("interrupted before it was copied") from None
        await without()
