"""The task that moves one blob."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from imageferry import words
from imageferry.copy.errors import DeliveryError
from imageferry.copy.runner import tried_enough
from imageferry.reference import Reference
from imageferry.registry import Descriptor, Repository
from tasks.current import current
from tasks.retries import DELAYS, JITTER, may_heal, with_retries
from tasks.settings import settings
from tasks.steps import own, step


@task(
    name="blob",
    task_run_name="blob {label}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retry_delay_seconds=DELAYS,
    retry_jitter_factor=JITTER,
    retry_condition_fn=may_heal,
)
async def copy_blob(label: str, digest: str, size: int, source: str, destinations: list[str]) -> int:
    """Read a blob from one repository and upload it to others that lack it.

    ``label`` is what a person sees of it; ``size`` is in bytes, -1 where the manifest does not say it; repositories
    are ``host/path``. Gives the size. Raises ``DeliveryError``.
    """
    ferry = current().ferry
    places = [await ferry.destination(Reference.parse(place)) for place in destinations]
    await own(ferry.transfer(Descriptor("", digest, size), await ferry.source(Reference.parse(source)), places))
    return size


async def move(blob: Descriptor, source: Repository, destinations: list[Repository]) -> None:
    """Move a blob, as a task run of its own where it is large enough: what the engine is given to move blobs with."""
    run = current()
    if 0 <= blob.size < settings().blob_task_size:
        if run.watch.gone:
            await run.runner.move(blob, source, destinations)
            return
        # Its image's task is the one that is tried again.
        await run.ferry.transfer(blob, source, destinations)
        return
    attempt = with_retries(copy_blob, run.ferry.options.retries)
    label = f"{words.short(blob.digest)} {words.size(blob.size) if blob.size >= 0 else ''}".rstrip()
    places = [place.name for place in destinations]
    try:
        await step(
            run,
            lambda: attempt(label, blob.digest, blob.size, source.name, places),
            lambda: run.runner.move(blob, source, destinations),
        )
    except DeliveryError as error:
        raise tried_enough(blob, error) from None
