"""Planning: what there is to do."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.client.schemas.objects import State
from prefect.runtime import task_run
from prefect.states import Failed

from imageferry.copy.engine import Engine
from imageferry.text import escape_control, format_count
from orchestration.artifacts.failures import log_failures
from orchestration.retries import TASK_OPTIONS
from orchestration.run_context import RunContext, run_context
from orchestration.step import run_tracked

# Rules that the state of the plan names; its log names more.
RULES_NAMED = 5


# The engine plans each rule once a run: another attempt would find the same.
@task(name="plan", task_run_name="plan", retries=0, **TASK_OPTIONS)
async def plan_rules(rules: list[str]) -> dict[str, int] | State[Any]:
    """Compare every rule's images with their destinations.

    Takes the rules' names, returns those that have work with the number of their images. What is up to date is noted.
    Ends as failed, and raises nothing, if something could not be planned.
    """
    run = run_context()
    found = await plan_all(run, rules)
    for failed in run.engine.plan_failures:
        run.failed_in.setdefault(failed, str(task_run.id))
    # The plan may have begun before there was a flow run that its lines belong to.
    log_failures(run)
    return Failed(message=describe_failures(run.engine)) if run.engine.plan_failures else found


async def plan_all(run: RunContext, rules: list[str]) -> dict[str, int]:
    """Do what ``plan_rules`` does, within no task."""
    return {rule.name: len(jobs) async for rule, jobs in run.planned(rules) if jobs}


def describe_failures(engine: Engine) -> str:
    """Return how many rules and images could not be planned, and which rules the first of them are."""
    rules = engine.unplanned_rules
    images = sum(source not in rules for source, _ in engine.plan_failures)
    parts = [format_count(len(rules), "rule")] * bool(rules) + [format_count(images, "image")] * bool(images)
    named = f": {', '.join(rules[:RULES_NAMED])}{', …' if len(rules) > RULES_NAMED else ''}" if rules else ""
    return escape_control(f"{' and '.join(parts)} could not be planned{named}")


async def plan(run: RunContext, rules: list[str]) -> None:
    """Plan rules, in a task run where Prefect can give one."""

    async def untracked() -> None:
        await plan_all(run, rules)

    await run_tracked(run, lambda: plan_rules(rules), untracked)
