"""The flow that copies all that a configuration asks for; as a program, Imageferry's command line."""

from __future__ import annotations

if __name__ == "__main__":
    # Before anything else is imported: prefect takes seconds, and a bad configuration is told in under one.
    from flows.start import main

    main()

import asyncio
from collections.abc import Coroutine
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows.opening import opened
from flows.parameters import ConfigName, PlatformText, SourceText
from flows.rule import sync_rule
from imageferry.concurrency import for_each
from imageferry.config import Configuration
from tasks.current import Current
from tasks.plan import plan_rules
from tasks.report import publish_report

#: Rules that are copied at the same time: each is a subflow, and more of them at once cost more than they bring.
RULES_AT_ONCE = 4


@flow(name="sync", persist_result=False)
async def sync(
    config: ConfigName = "config.json",
    only: list[SourceText] | None = None,
    dry_run: bool = False,
    force: bool = False,
    platforms: list[PlatformText] | None = None,
) -> State[None]:
    """Copy container images from registry to registry, as a configuration says.

    Args:
        config: A configuration: a path on the worker's machine; else the name of a block Imageferry Configuration; else
            the name of a variable.
        only: Only rules whose source contains one of these texts; none means all rules.
        dry_run: Plan and report, write to no registry.
        force: Put manifests even where the destination has them.
        platforms: Copy only these platforms (os/arch or os/arch/variant); none means all.
    """
    async with opened(config, force=force, dry_run=dry_run, platforms=platforms) as run:
        rules = chosen(run.ferry.configuration, only)
        stopped = await _until_stopped(run, _copy_all(run, rules, config, force, platforms))
        return await _end(run, stopped=stopped)


async def _copy_all(run: Current, rules: list[str], config: str, force: bool, platforms: list[str] | None) -> None:
    """Plan every rule, then copy those that have work, each in its subflow."""
    await run.history.began()
    busy = await plan_rules(rules)

    async def copy(rule: str) -> None:
        # Prefect keeps a task run in this flow run for each subflow, and ends it after the subflow.
        await run.history.began()
        state = await sync_rule(rule, config, force, platforms, return_state=True)
        for work in run.work[rule].values():
            # Nothing where all is settled, as it is unless the subflow itself broke down.
            run.ferry.give_up(work, RuntimeError(state.message or state.name))

    await for_each(busy, RULES_AT_ONCE, copy)


async def _until_stopped(run: Current, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, unless the run is stopped first; then what is under way is dropped. Gives whether it was."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(run.stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopped = not working.done()
    stopping.cancel()
    if stopped:
        working.cancel()
        await asyncio.wait({working})
    else:
        await working
    return stopped


def chosen(configuration: Configuration, only: list[str] | None) -> list[str]:
    """Give the names of the rules whose source contains one of the texts; of all rules without texts."""
    return [rule.name for rule in configuration.rules if not only or any(text in rule.name for text in only)]


async def _end(run: Current, *, stopped: bool) -> State[None]:
    await run.history.began()
    await publish_report(str(flow_run.id), return_state=True)  # type: ignore[misc] # Prefect types it as not awaited
    report = run.ferry.outcomes.report()
    if stopped:
        return Cancelled(message=f"stopped; {report.summary}")
    return Failed(message=report.summary) if report.totals.failed else Completed(message=report.summary)
