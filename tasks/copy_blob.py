"""The task that moves one blob."""

from __future__ import annotations

from prefect import task

from imageferry.copy.blob_move import BlobMove, as_permanent, move_with_retries
from imageferry.copy.errors import DeliveryError
from orchestration.retries import RETRY_OPTIONS, with_retries
from orchestration.run_context import run_context
from orchestration.settings import settings
from orchestration.step import as_engine_error, run_tracked


@task(name="blob", task_run_name="blob {label}", **RETRY_OPTIONS)
async def copy_blob(label: str, digest: str) -> None:
    """Make one attempt at moving the blob ``digest``, which the run has under ``moves``.

    ``label`` is what a person sees of it. Raises ``DeliveryError``.
    """
    await as_engine_error(run_context().moves[digest].run())


async def move_blob(move: BlobMove) -> None:
    """Move a blob, in a task run of its own where it is large enough: the mover of an engine that Prefect records.

    Raises ``DeliveryError``.
    """
    run = run_context()
    retries, digest = run.engine.options.retries, move.blob.digest
    if 0 <= move.blob.size < settings().blob_task_size:
        if run.monitor.lost:
            await move_with_retries(move, retries)
            return
        # The task of its image tries again.
        await move.run()
        return
    attempt = with_retries(copy_blob, retries)
    # The engine moves a blob once at a time, so its digest is free.
    run.moves[digest] = move
    try:
        await run_tracked(run, lambda: attempt(move.label, digest), lambda: move_with_retries(move, retries))
    except DeliveryError as error:
        raise as_permanent(move, error) from None
    finally:
        del run.moves[digest]
