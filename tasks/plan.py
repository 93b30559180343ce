"""The task that finds what there is to do."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from tasks.current import Current, current
from tasks.failures import tell_failures


@task(name="plan", task_run_name="plan", cache_policy=NO_CACHE, persist_result=False)
async def plan_rules(rules: list[str]) -> dict[str, int]:
    """Compare every rule's images with their destinations.

    Takes the rules' names, gives those that have work with the number of their images. What is up to date is noted.
    """
    run = current()
    found = await plan_all(run, rules)
    for image in run.ferry.outcomes.failures:
        run.failed_in.setdefault((image.source, image.destination), str(task_run.id))
    # The plan may have begun before there was a flow run that its lines belong to.
    tell_failures(run)
    return found


async def plan_all(run: Current, rules: list[str]) -> dict[str, int]:
    """Do what ``plan_rules`` does, within no task."""
    known = {rule.name: rule for rule in run.ferry.configuration.rules}
    wanted = [known[name] for name in rules]
    await run.ferry.plan_all(wanted)
    for rule in wanted:
        if work := await run.ferry.plan(rule):
            run.work[rule.name] = {item.label: item for item in work}
    return {name: len(run.work[name]) for name in rules if name in run.work}
