"""The task that copies one tag, or one digest, of a rule's source."""

from __future__ import annotations

from prefect import task
from prefect.runtime import task_run

from imageferry.copy.job import CopyJob
from orchestration.retries import RETRY_OPTIONS, with_retries
from orchestration.run_context import RunContext, run_context
from orchestration.step import as_engine_error, run_tracked


@task(name="copy", task_run_name="copy {tag}", **RETRY_OPTIONS)
async def copy_image(tag: str, rule: str) -> None:
    """Copy what the plan of ``rule`` has under ``tag`` to the destinations that lack it.

    Raises ``DeliveryError`` that names the destinations which failed; a further attempt is for these alone.
    """
    run = run_context()
    job = run.work[rule][tag]
    try:
        await as_engine_error(run.engine.copy(job))
    finally:
        for destination in job.destinations:
            if destination not in job.finished:
                run.failed_in[job.name, str(destination)] = str(task_run.id)


async def copy(run: RunContext, rule: str, job: CopyJob) -> None:
    """Copy one image in a task run where Prefect can give one; report it as failed where it cannot be copied."""
    attempt = with_retries(copy_image, run.engine.options.retries)
    try:
        await run_tracked(run, lambda: attempt(job.tag_or_digest, rule), lambda: run.runner.copy(job))
    except Exception as error:
        # Whatever it is, it costs this image alone, and is reported.
        run.engine.give_up(job, error)
