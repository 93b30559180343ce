"""How often copying is tried again, layer by layer, and the attempts at a blob or an image as a whole.

From the inside out; each layer tries again only what the one within it has given up with a transient error:

1. One HTTP exchange: ``imageferry.registry.http.transport`` (``ATTEMPTS``), with the registry's Retry-After.
2. One blob's bytes: ``RetryBudget`` bounds the breaks without progress, ``READ_BREAKS`` for a source (``BlobReader``)
   and ``UPLOAD_BREAKS`` for a destination (``UploadStream``). Reading and upload go on at the byte where they broke.
3. One blob as a whole, then one image as a whole: ``Options.retries`` more attempts after ``DELAYS``, by
   ``retry_transient`` here or by the orchestrator, which uses the same numbers. A blob that has used them up fails for
   good, so that its image's attempts do not multiply with its own.
4. A batch of images that another machine lost: the orchestrator starts it again.

All of them wait at the registry's ``RequestLimiter`` while the registry is unreachable or has asked for a pause.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_chain, wait_fixed
from tenacity.wait import wait_base, wait_random

from imageferry.errors import ImageferryError

logger = logging.getLogger(__name__)

# Seconds before each further attempt at a blob or an image; the last one holds for all that follow.
DELAYS = [2.0, 10.0, 30.0]

# The random part that lengthens a delay, as a share of it, so that what failed together does not come back together.
JITTER = 0.3

# Breaks in a row with no byte between them after which a source is given up.
READ_BREAKS = 3

# Breaks in a row with no further byte at the destination between them after which an upload is given up.
UPLOAD_BREAKS = 4

# Seconds before another attempt when the last one brought no byte; doubled with each further one.
FIRST_PAUSE = 1.0


def is_transient(error: object) -> bool:
    """Return whether another attempt may succeed: not after a refusal, a missing image, a bad digest or a bug."""
    return isinstance(error, ImageferryError) and error.transient


async def retry_transient(work: Callable[[], Awaitable[None]], retries: int) -> None:
    """Do the work, with ``retries`` more attempts after transient errors. Raises the error of the last attempt."""
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
