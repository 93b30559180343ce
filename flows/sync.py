"""The flow that copies all that a configuration asks for; as a program, Imageferry's command line."""

from __future__ import annotations

if __name__ == "__main__":
    # Before anything else is imported: prefect takes seconds, and a bad configuration is told in under one.
    from cli.main import main

    main()

import asyncio
import logging
from collections.abc import AsyncIterator

from prefect import flow, tags
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows.parameters import ConfigName, PlatformText, SourceText
from flows.sync_rule import sync_rule
from imageferry.concurrency import for_each_arriving, until_stopped
from imageferry.copy.runner import RULES_COPIED_AT_ONCE
from imageferry.model import Configuration, Rule
from orchestration.artifacts.failures import log_end
from orchestration.artifacts.run_name import name_run
from orchestration.artifacts.run_tags import registry_tags, tag_flow_run
from orchestration.deployments.remains import end_remains_of_others
from orchestration.open_run import LAST_WORDS_LIMIT, RunRequest, end_in_order, join_run, open_run, run_until_stopped
from orchestration.run_context import RunContext, take_offered_run
from orchestration.step import run_tracked
from orchestration.workers.distribute import copy_on_workers, find_workers
from tasks.copy_blob import move_blob
from tasks.plan import plan
from tasks.publish_report import report_run

logger = logging.getLogger("imageferry.sync")

# The engine tries again by itself; a second attempt of Prefect's would find the run gone.
_rule_subflow = sync_rule.with_options(retries=0)


def name_sync() -> str:
    """Name the run after its configuration, unless it was given a name."""
    parameters = flow_run.parameters
    return name_run(str(flow_run.name), str(parameters["config"]), dry_run=bool(parameters["dry_run"]))


@flow(name="sync", flow_run_name=name_sync, persist_result=False)
async def sync(
    config: ConfigName = "config.json",
    only: list[SourceText] | None = None,
    dry_run: bool = False,
    force: bool = False,
    platforms: list[PlatformText] | None = None,
    *,
    distribute: bool = False,
) -> State[None]:
    """Copy container images from registry to registry, as a configuration says.

    Args:
        config: A configuration: a path on the worker's machine; else the name of a block Imageferry Configuration; else
            the name of a variable.
        only: Only rules whose source contains one of these texts; none means all rules.
        dry_run: Plan and report, write to no registry.
        force: Put manifests even where the destination has them.
        platforms: Copy only these platforms (os/arch or os/arch/variant); none means all.
        distribute: Have the workers of the work pool copy: each rule with work is a run of sync-rule/worker.
    """
    request = RunRequest(config=config, force=force, dry_run=dry_run, platforms=platforms)
    offered = take_offered_run()
    stop = offered.stop if offered else asyncio.Event()
    return await end_in_order(stop, _sync(offered, stop, request, only, distribute=distribute))


async def _sync(
    offered: RunContext | None, stop: asyncio.Event, request: RunRequest, only: list[str] | None, *, distribute: bool
) -> State[None]:
    async with join_run(offered) if offered else open_run(request, move_blob, stop) as run:
        run.flow_run_id = str(flow_run.id)
        rules = select_rules(run.engine.configuration, only)
        await end_remains_of_others(run)
        if only:
            run.engine.select(rules)
        await tag_flow_run(rule for rule in run.engine.configuration.rules if rule.name in rules)
        copying = _plan_and_copy(run, rules, request, distribute=distribute and not request.dry_run)
        # The subflows stop by themselves, and record their ends.
        stopped = await run_until_stopped(run, rules, copying, grace=LAST_WORDS_LIMIT)
        return await _end(run, stopped=stopped)


async def _plan_and_copy(run: RunContext, rules: list[str], request: RunRequest, *, distribute: bool) -> None:
    """Plan the rules in one task, and copy each that has work once it is planned: in its subflow, or on workers."""
    # Before anything is asked of a registry: without workers there is nothing to do.
    workers = await find_workers() if distribute else None
    planning = asyncio.create_task(until_stopped(run.stop, plan(run, rules)))
    try:
        if workers is None:
            await _copy_in_subflows(run, rules, request)
        else:
            await copy_on_workers(run, rules, request, workers)
        await planning
    finally:
        planning.cancel()


async def _copy_in_subflows(run: RunContext, rules: list[str], request: RunRequest) -> None:
    async def with_work() -> AsyncIterator[Rule]:
        async for rule, jobs in run.planned(rules):
            if jobs:
                yield rule

    await for_each_arriving(with_work(), RULES_COPIED_AT_ONCE, lambda rule: _copy_in_subflow(run, rule, request))


async def _copy_in_subflow(run: RunContext, rule: Rule, request: RunRequest) -> None:
    """Copy one rule in its subflow; what that leaves undone is copied here."""

    async def subflow() -> None:
        platforms = None if request.platforms is None else list(request.platforms)
        state = await _rule_subflow(rule.name, request.config, request.force, platforms, return_state=True)
        if not run.stop.is_set() and any(not job.is_finished for job in run.work[rule.name].values()):
            logger.warning("the subflow of %s left images: %s; they are copied without it", rule.name, state.message)

    async def rest() -> None:
        await until_stopped(run.stop, run.runner.copy_rule(rule))

    if run.stop.is_set():
        return
    with run.timed(rule.name), run.offered(), tags(*registry_tags([rule])):
        # Prefect keeps a task run in this flow run for each subflow, and ends it after the subflow.
        await run_tracked(run, subflow, rest)
        run.reinstall_signal_handler()
        # Nothing where all is settled, as it is unless the subflow itself broke down.
        await rest()


def select_rules(configuration: Configuration, only: list[str] | None) -> list[str]:
    """Return the names of the rules whose source contains one of the texts; of all rules without texts."""
    return [rule.name for rule in configuration.rules if not only or any(text in rule.name for text in only)]


async def _end(run: RunContext, *, stopped: bool) -> State[None]:
    log_end(run)
    await report_run(run)
    report = run.engine.outcomes.report()
    if not run.engine.configuration.rules:
        return Completed(message="nothing to do: the configuration has no rules")
    if stopped:
        return Cancelled(message=f"stopped; {report.summary}")
    return Failed(message=report.summary) if report.totals.failed else Completed(message=report.summary)
