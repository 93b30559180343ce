"""The task that moves one blob."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from imageferry.copy.errors import DeliveryError
from imageferry.copy.runner import as_permanent
from imageferry.reference import Reference
from imageferry.registry import Descriptor, Repository
from imageferry.text import format_size, short_digest
from orchestration.retries import DELAYS, JITTER, is_transient, with_retries
from orchestration.run_context import run_context
from orchestration.settings import settings
from orchestration.step import as_engine_error, run_tracked


@task(
    name="blob",
    task_run_name="blob {label}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retry_delay_seconds=DELAYS,
    retry_jitter_factor=JITTER,
    retry_condition_fn=is_transient,
)
async def copy_blob(label: str, digest: str, size: int, source: str, destinations: list[str]) -> int:
    """Read a blob from one repository and upload it to others that lack it.

    ``label`` is what a person sees of it; ``size`` is in bytes, -1 where the manifest does not say it; repositories
    are ``host/path``. Return the size. Raises ``DeliveryError``.
    """
    engine = run_context().engine
    places = [await engine.destination(Reference.parse(place)) for place in destinations]
    await as_engine_error(
        engine.transfer(Descriptor("", digest, size), await engine.source(Reference.parse(source)), places)
    )
    return size


async def move_blob(blob: Descriptor, source: Repository, destinations: list[Repository]) -> None:
    """Move a blob, as a task run of its own where it is large enough: what the engine is given to move blobs with."""
    run = run_context()
    if 0 <= blob.size < settings().blob_task_size:
        if run.monitor.lost:
            await run.runner.move(blob, source, destinations)
            return
        # Its image's task is the one that is tried again.
        await run.engine.transfer(blob, source, destinations)
        return
    attempt = with_retries(copy_blob, run.engine.options.retries)
    label = f"{short_digest(blob.digest)} {format_size(blob.size) if blob.size >= 0 else ''}".rstrip()
    places = [place.name for place in destinations]
    try:
        await run_tracked(
            run,
            lambda: attempt(label, blob.digest, blob.size, source.name, places),
            lambda: run.runner.move(blob, source, destinations),
        )
    except DeliveryError as error:
        raise as_permanent(blob, error) from None
