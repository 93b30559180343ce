"""The progress of a long run, in Prefect: an artifact that moves while images are copied."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from imageferry import words
from imageferry.report import Outcomes
from tasks.current import Current
from tasks.markdown import escaped

logger = logging.getLogger("imageferry.history")

KEY = "imageferry-progress"

#: Seconds between two updates, and before the first one: a run that is shorter has none.
EVERY = 5.0

#: Seconds before the first one while nothing is to be copied: to compare is seldom worth a request.
WITHOUT_WORK = 60.0

#: Seconds that the last update may take.
LAST_LIMIT = 2.0


@contextlib.asynccontextmanager
async def shown(run: Current) -> AsyncIterator[None]:
    """Show the run's progress in the flow run of this context, unless an outer one shows it."""
    if run.shows_progress:
        yield
        return
    run.shows_progress = True
    over = asyncio.Event()
    showing = asyncio.create_task(_show(run, over))
    try:
        yield
    finally:
        over.set()
        await asyncio.wait({showing}, timeout=LAST_LIMIT)
        showing.cancel()
        run.shows_progress = False


async def _show(run: Current, over: asyncio.Event) -> None:
    """Make the artifact once the run is long enough, and keep it up to date until the run is over."""
    outcomes = run.ferry.outcomes
    identity: UUID | None = None
    last = 0
    rate = 0.0
    try:
        while not run.watch.gone:
            ended = await _over_within(over, EVERY)
            rate, last = (outcomes.totals.bytes_written - last) / EVERY, outcomes.totals.bytes_written
            if identity is not None:
                await aupdate_progress_artifact(identity, percent(outcomes), told(outcomes, None if ended else rate))
            elif not ended and _worth_showing(run):
                identity = await acreate_progress_artifact(percent(outcomes), KEY, told(outcomes, rate))
            if ended:
                return
    except Exception as error:
        # It is only to be looked at: the run goes on without.
        logger.info("Prefect did not take the progress: %s", str(error) or type(error).__name__)


def _worth_showing(run: Current) -> bool:
    return bool(run.work) or run.ferry.outcomes.seconds >= WITHOUT_WORK


async def _over_within(over: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(over.wait(), seconds)
    return over.is_set()


def percent(outcomes: Outcomes) -> float:
    """Give how much is done: the images that are, of those that the plan has found so far."""
    done, expected = len(outcomes.images), outcomes.expected
    return round(100 * min(done, expected) / expected, 1) if expected else 0.0


def told(outcomes: Outcomes, rate: float | None) -> str:
    """Say in Markdown how far the run is; ``rate`` is in bytes a second, None once it is over."""
    totals = outcomes.totals
    figures = [
        f"{len(outcomes.images):,} of {words.count(outcomes.expected, 'image')}",
        f"{words.size(totals.bytes_written)} sent" + (f" ({words.size(rate)}/s)" if rate is not None else ""),
    ]
    if totals.failed:
        figures.append(f"**{totals.failed:,} failed**")
    under_way = [
        f"blob {words.short(digest)}: {words.size(done)} of {words.size(size)}"
        for digest, (done, size) in list(outcomes.under_way.items())[:8]
    ]
    waiting = [escaped(str(wait)) for wait in outcomes.waits.now()]
    return "\n".join([", ".join(figures), *(f"- {line}" for line in (*under_way, *waiting))])
