"""Planning: what there is to do."""

from __future__ import annotations

from prefect import task
from prefect.runtime import task_run

from orchestration.artifacts.failures import log_failures
from orchestration.retries import TASK_OPTIONS
from orchestration.run_context import RunContext, run_context
from orchestration.step import run_tracked


@task(name="plan", task_run_name="plan", **TASK_OPTIONS)
async def plan_rules(rules: list[str]) -> dict[str, int]:
    """Compare every rule's images with their destinations.

    Takes the rules' names, gives those that have work with the number of their images. What is up to date is noted.
    """
    run = run_context()
    found = await plan_all(run, rules)
    for image in run.engine.outcomes.failures:
        run.failed_in.setdefault((image.source, image.destination), str(task_run.id))
    # The plan may have begun before there was a flow run that its lines belong to.
    log_failures(run)
    return found


async def plan_all(run: RunContext, rules: list[str]) -> dict[str, int]:
    """Do what ``plan_rules`` does, within no task."""
    known = {rule.name: rule for rule in run.engine.configuration.rules}
    wanted = [known[name] for name in rules]
    await run.engine.plan_all(wanted)
    for rule in wanted:
        if work := await run.engine.plan(rule):
            run.work[rule.name] = {item.tag_or_digest: item for item in work}
    return {name: len(run.work[name]) for name in rules if name in run.work}


async def plan(run: RunContext, rules: list[str]) -> None:
    """Plan rules, in a task run where Prefect can give one."""

    async def untracked() -> None:
        await plan_all(run, rules)

    await run_tracked(run, lambda: plan_rules(rules), untracked)
