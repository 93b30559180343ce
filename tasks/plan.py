"""The task that finds what there is to do."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.current import Current, current


@task(name="plan", task_run_name="plan", cache_policy=NO_CACHE, persist_result=False)
async def plan_rules(rules: list[str]) -> dict[str, int]:
    """Compare every rule's images with their destinations.

    Takes the rules' names, gives those that have work with the number of their images. What is up to date is noted.
    """
    return await plan_all(current(), rules)


async def plan_all(run: Current, rules: list[str]) -> dict[str, int]:
    """Do what ``plan_rules`` does, within no task."""
    known = {rule.name: rule for rule in run.ferry.configuration.rules}
    wanted = [known[name] for name in rules]
    await run.ferry.plan_all(wanted)
    for rule in wanted:
        if work := await run.ferry.plan(rule):
            run.work[rule.name] = {item.label: item for item in work}
    return {name: len(run.work[name]) for name in rules if name in run.work}
