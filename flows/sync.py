"""The flow that copies all that a configuration asks for; as a program, Imageferry's command line."""

from __future__ import annotations

if __name__ == "__main__":
    # Before anything else is imported: prefect takes seconds, and a bad configuration is told in under one.
    from flows.start import main

    main()

from prefect import flow, tags
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows.distributed import copy_on_workers
from flows.opening import LAST_WORDS_LIMIT, opened, planned, reported, stopped_early
from flows.parameters import ConfigName, PlatformText, SourceText
from flows.rule import sync_rule
from flows.stopping import DROP_LIMIT
from imageferry.concurrency import for_each, until_stopped
from imageferry.config import Configuration
from imageferry.copy.runner import RULES_AT_ONCE
from tasks.current import Current
from tasks.failures import tell_failures
from tasks.hosts import hosts, tag_flow_run
from tasks.steps import step


@flow(name="sync", persist_result=False)
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
    async with opened(config, force=force, dry_run=dry_run, platforms=platforms) as run:
        run.flow_run_id = str(flow_run.id)
        rules = chosen(run.ferry.configuration, only)
        await tag_flow_run(rule for rule in run.ferry.configuration.rules if rule.name in rules)
        copy_all = copy_on_workers if distribute and not dry_run else _copy_all
        copying = copy_all(run, rules, config, force, platforms)
        # The subflows stop by themselves, and have their ends told.
        stopped = await stopped_early(run, rules, copying, grace=LAST_WORDS_LIMIT)
        return await _end(run, stopped=stopped)


async def _copy_all(run: Current, rules: list[str], config: str, force: bool, platforms: list[str] | None) -> None:
    """Plan every rule, then copy those that have work, each in its subflow."""
    if await until_stopped(run.stop, planned(run, rules), DROP_LIMIT):
        return
    known = {rule.name: rule for rule in run.ferry.configuration.rules}

    async def copy(name: str) -> None:
        async def rest() -> None:
            await until_stopped(run.stop, run.runner.copy_rule(known[name]), DROP_LIMIT)

        if run.stop.is_set():
            return
        with run.timed(name), tags(*hosts([known[name]])):
            # Prefect keeps a task run in this flow run for each subflow, and ends it after the subflow.
            await step(run, lambda: sync_rule(name, config, force, platforms, return_state=True), rest)
            run.take_signals()
            # Nothing where all is settled, as it is unless the subflow itself broke down.
            await rest()

    await for_each([name for name in rules if name in run.work], RULES_AT_ONCE, copy)


def chosen(configuration: Configuration, only: list[str] | None) -> list[str]:
    """Give the names of the rules whose source contains one of the texts; of all rules without texts."""
    return [rule.name for rule in configuration.rules if not only or any(text in rule.name for text in only)]


async def _end(run: Current, *, stopped: bool) -> State[None]:
    tell_failures(run)
    await reported(run)
    report = run.ferry.outcomes.report()
    if stopped:
        return Cancelled(message=f"stopped; {report.summary}")
    return Failed(message=report.summary) if report.totals.failed else Completed(message=report.summary)
