"""The task that copies one tag, or one digest, of a rule's source."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from tasks.current import current
from tasks.retries import DELAYS, JITTER, may_heal
from tasks.steps import own


@task(
    name="copy",
    task_run_name="copy {tag}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retry_delay_seconds=DELAYS,
    retry_jitter_factor=JITTER,
    retry_condition_fn=may_heal,
)
async def copy_tag(tag: str, rule: str) -> None:
    """Copy what the plan of ``rule`` has under ``tag`` to the destinations that lack it.

    Raises ``DeliveryError`` that names the destinations which failed; a further attempt is for these alone.
    """
    run = current()
    work = run.work[rule][tag]
    try:
        await own(run.ferry.copy(work))
    finally:
        for place in work.destinations:
            if place not in work.settled:
                run.failed_in[work.name, str(place)] = str(task_run.id)
