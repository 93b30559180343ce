"""When a tag or a blob is tried again as a whole: the same rule with Prefect and without."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_chain, wait_fixed
from tenacity.wait import wait_base, wait_random

from imageferry.errors import ImageferryError

logger = logging.getLogger(__name__)

#: Seconds before each further attempt; the last one holds for all that follow.
DELAYS = [2.0, 10.0, 30.0]

#: By how much of itself a delay is made longer at random, so that what failed together does not come back together.
JITTER = 0.3


def is_transient(error: object) -> bool:
    """Whether another attempt may succeed: not for a refusal, a missing image or a bad digest (or a fault of ours)."""
    return isinstance(error, ImageferryError) and error.transient


async def retry_transient(work: Callable[[], Awaitable[None]], retries: int) -> None:
    """Do the work, with ``retries`` more attempts where one may succeed. Raises the error of the last."""
    delays: list[wait_base] = [wait_fixed(delay) + wait_random(0, delay * JITTER) for delay in DELAYS]
    attempts = AsyncRetrying(
        stop=stop_after_attempt(retries + 1),
        wait=wait_chain(*delays),
        retry=retry_if_exception(is_transient),
        before_sleep=_log_pause,
        reraise=True,
    )
    async for attempt in attempts:
        with attempt:
            await work()


def _log_pause(state: RetryCallState) -> None:
    assert state.outcome is not None
    assert state.next_action is not None
    logger.info("%s; again in %.0f s", state.outcome.exception(), state.next_action.sleep)
