"""The task that finds what there is to do."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from imageferry.concurrency import for_each
from imageferry.config import Rule
from tasks.current import current

#: Rules that are planned at the same time; the registries' own limits lie below.
RULES_AT_ONCE = 16


@task(name="plan", cache_policy=NO_CACHE, persist_result=False)
async def plan_rules(rules: list[str]) -> dict[str, int]:
    """Compare every rule's images with their destinations.

    Takes the rules' names, gives those that have work with the number of their images. What is up to date is noted.
    """
    run = current()
    known = {rule.name: rule for rule in run.ferry.configuration.rules}

    async def plan(rule: Rule) -> None:
        work = await run.ferry.plan(rule)
        if work:
            run.work[rule.name] = {item.label: item for item in work}

    await for_each([known[name] for name in rules], RULES_AT_ONCE, plan)
    return {name: len(run.work[name]) for name in rules if name in run.work}
