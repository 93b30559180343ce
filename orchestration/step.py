"""A step of a run: a task run or subflow where Prefect can track one; the work is done either way."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from imageferry.copy.errors import Interrupted
from imageferry.errors import ImageferryError
from orchestration.run_context import RunContext

logger = logging.getLogger("imageferry.history")


class UnexpectedError(ImageferryError):
    """A bug of ours within a step: it must not look like one of Prefect's errors."""


async def as_engine_error(work: Awaitable[None]) -> None:
    """Await the work of a task run, and raise whatever it raises as an ``ImageferryError``."""
    try:
        await work
    except ImageferryError:
        raise
    except Exception as error:
        raise UnexpectedError(f"unexpected {type(error).__name__}: {error}") from error


async def run_tracked(
    run: RunContext, tracked: Callable[[], Awaitable[object]], fallback: Callable[[], Awaitable[None]]
) -> None:
    """Do a step as ``tracked``, a task run or subflow; where Prefect fails it, as ``fallback``.

    ``fallback`` must be idempotent: it may run after part of the work was done. Raises the step's own
    ``ImageferryError``.
    """
    if run.monitor.lost:
        run.recorder.untracked += 1
        await fallback()
        return
    await run.recorder.task_started()
    try:
        await tracked()
    except ImageferryError:
        raise
    except Exception as error:
        logger.info("Prefect could not keep a step: %s: %s", type(error).__name__, error)
        run.recorder.task_untracked()
        if run.stop.is_set():
            raise Interrupted("interrupted before it was copied") from None
        await fallback()
