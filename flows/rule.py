"""One rule of a configuration as a flow: under `sync`, or by itself on a worker."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows.opening import opened, planned, reported, stands_alone, stopped_early
from flows.parameters import ConfigName, PlatformText, SourceText
from imageferry import words
from imageferry.concurrency import for_each
from imageferry.copy.plan import Work
from imageferry.copy.runner import IMAGES_AT_ONCE
from imageferry.figures import by_rule
from tasks.current import Current
from tasks.hosts import tag_flow_run
from tasks.retries import with_retries
from tasks.steps import step
from tasks.tags import copy_tag


@flow(name="sync-rule", flow_run_name="{rule}", persist_result=False, validate_parameters=True)
async def sync_rule(
    rule: SourceText, config: ConfigName, force: bool = False, platforms: list[PlatformText] | None = None
) -> State[None]:
    """Copy what one rule has to copy.

    Args:
        rule: The rule's source, as the configuration writes it.
        config: A configuration: a path on the worker's machine; else the name of a block Imageferry Configuration; else
            the name of a variable.
        force: Put manifests even where the destination has them.
        platforms: Copy only these platforms (os/arch or os/arch/variant); none means all.
    """
    async with opened(config, force=force, platforms=platforms) as run:
        run.subflows[rule] = str(flow_run.id)
        await tag_flow_run(each for each in run.ferry.configuration.rules if each.name == rule)
        with run.timed(rule):
            stopped = await stopped_early(run, [rule], _copy_all(run, rule))
        figures = by_rule(run.ferry.outcomes.failures, run.ferry.configuration.rules)
        failed = sum(each.failed for each in figures if each.rule == rule)
        if stands_alone():
            await reported(run)
    message = f"{words.count(len(run.work.get(rule, {})), 'image')} to copy, {failed:,} failed"
    if stopped:
        return Cancelled(message=f"stopped; {message}")
    return Failed(message=message) if failed else Completed(message=message)


async def _copy_all(run: Current, rule: str) -> None:
    if rule not in run.work:
        await planned(run, [rule])
    await for_each(run.work.get(rule, {}).values(), IMAGES_AT_ONCE, lambda work: _copy(run, rule, work))


async def _copy(run: Current, rule: str, work: Work) -> None:
    attempt = with_retries(copy_tag, run.ferry.options.retries)
    try:
        await step(run, lambda: attempt(work.label, rule), lambda: run.runner.copy(work))
    except Exception as error:
        # Whatever it is, it costs this image alone, and is reported.
        run.ferry.give_up(work, error)
