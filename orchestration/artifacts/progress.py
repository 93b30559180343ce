"""The progress of a long run, in Prefect: an artifact that moves while images are copied."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from imageferry.report.outcomes import Outcomes
from imageferry.text import describe_exception, format_count, format_size, short_digest
from orchestration.artifacts.keys import run_key
from orchestration.artifacts.markup import quote_markup
from orchestration.run_context import RunContext

logger = logging.getLogger("imageferry.history")

# Seconds between two updates, and before the first one: a run that is shorter has none.
EVERY = 5.0

# Seconds before the first update while nothing is to be copied: comparing is seldom worth a request.
WITHOUT_WORK = 60.0

# Seconds that the last update may take.
LAST_LIMIT = 2.0


@contextlib.asynccontextmanager
async def show_progress(run: RunContext) -> AsyncIterator[None]:
    """Show the run's progress in the flow run of this context, unless an outer one shows it."""
    if run.shows_progress:
        yield
        return
    run.shows_progress = True
    done = asyncio.Event()
    showing = asyncio.create_task(_show(run, done))
    try:
        yield
    finally:
        done.set()
        await asyncio.wait({showing}, timeout=LAST_LIMIT)
        showing.cancel()
        run.shows_progress = False


async def _show(run: RunContext, done: asyncio.Event) -> None:
    """Make the artifact once the run is long enough, and keep it up to date until the run is done."""
    outcomes = run.engine.outcomes
    identity: UUID | None = None
    last = 0
    rate = 0.0
    try:
        while not run.monitor.lost:
            ended = await _done_within(done, EVERY)
            rate, last = (outcomes.totals.bytes_written - last) / EVERY, outcomes.totals.bytes_written
            if identity is not None:
                await aupdate_progress_artifact(
                    identity, percent_done(outcomes), describe_progress(outcomes, None if ended else rate)
                )
            elif not ended and _worth_showing(run):
                identity = await acreate_progress_artifact(
                    percent_done(outcomes), await run_key(run, "progress"), describe_progress(outcomes, rate)
                )
            if ended:
                return
    except Exception as error:
        # It is only for people to look at: the run goes on without.
        logger.info("Prefect did not take the progress: %s", describe_exception(error))


def _worth_showing(run: RunContext) -> bool:
    return bool(run.work) or run.engine.outcomes.seconds >= WITHOUT_WORK


async def _done_within(done: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), seconds)
    return done.is_set()


def percent_done(outcomes: Outcomes) -> float:
    """Return how much is done: the images that are, of those that the plan has found so far."""
    done, expected = len(outcomes.images), outcomes.planned
    return round(100 * min(done, expected) / expected, 1) if expected else 0.0


def describe_progress(outcomes: Outcomes, rate: float | None) -> str:
    """Say in Markdown how far the run is, and when; ``rate`` is in bytes a second, None once it has ended.

    A run that is killed leaves its last progress as it was: without the time it would look as if it went on.
    """
    totals = outcomes.totals
    figures = [
        f"{len(outcomes.images):,} of {format_count(outcomes.planned, 'image')}",
        f"{format_size(totals.bytes_written)} sent" + (f" ({format_size(rate)}/s)" if rate is not None else ""),
    ]
    if totals.failed:
        figures.append(f"**{totals.failed:,} failed**")
    when = f"{'ended' if rate is None else 'at'} {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    headline = f"{', '.join(figures)}, {when}"
    if rate is None:
        return headline
    active_blobs = [
        f"blob {short_digest(digest)}: {format_size(done)} of {format_size(size)}"
        for digest, (done, size) in list(outcomes.active_blobs.items())[:8]
    ]
    waiting = [quote_markup(str(wait)) for wait in outcomes.waits.now()]
    return "\n".join([headline, *(f"- {line}" for line in (*active_blobs, *waiting))])
