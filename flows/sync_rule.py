"""One rule of a configuration as a flow: under `sync`, or by itself on a worker."""

from __future__ import annotations

import asyncio

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows.parameters import AtLeastOne, ConfigName, DestinationText, ImageText, NotNegative, PlatformText, SourceText
from imageferry.concurrency import for_each
from imageferry.copy.options import DEFAULT_PROC, DEFAULT_RETRIES
from imageferry.copy.runner import IMAGES_AT_ONCE
from imageferry.report.by_rule import stats_by_rule
from imageferry.text import format_count
from orchestration.artifacts.failures import log_end
from orchestration.artifacts.run_tags import tag_flow_run
from orchestration.open_run import RunRequest, end_in_order, is_root_run, join_run, open_run, run_until_stopped
from orchestration.run_context import RunContext, take_offered_run
from orchestration.workers.registry_slots import slots
from tasks.copy_blob import move_blob
from tasks.copy_image import copy
from tasks.plan import plan
from tasks.publish_outcomes import report_outcomes
from tasks.publish_report import report_run


def name_run() -> str:
    """Name the run after its rule. The parent already named runs of a batch of images."""
    parameters = flow_run.parameters
    return str(flow_run.name if parameters.get("images") else parameters["rule"])


@flow(name="sync-rule", flow_run_name=name_run, persist_result=False, validate_parameters=True)
async def sync_rule(
    rule: SourceText,
    config: ConfigName,
    force: bool = False,
    platforms: list[PlatformText] | None = None,
    *,
    images: list[ImageText] | None = None,
    withheld: list[DestinationText] | None = None,
    proc: AtLeastOne = DEFAULT_PROC,
    retries: NotNegative = DEFAULT_RETRIES,
) -> State[None]:
    """Copy what one rule has to copy.

    Args:
        rule: The rule's source, as the configuration writes it.
        config: A configuration: a path on the worker's machine; else the name of a block Imageferry Configuration; else
            the name of a variable.
        force: Put manifests even where the destination has them.
        platforms: Copy only these platforms (os/arch or os/arch/variant); none means all.
        images: Copy only these tags (digests where there is no tag) of those that the rule selects; none means all.
        withheld: Leave these names at destinations alone: another rule writes them.
        proc: Blobs in flight at once.
        retries: More attempts for a failed tag or blob.
    """
    request = RunRequest(
        config=config,
        force=force,
        platforms=platforms,
        proc=proc,
        retries=retries,
        rule=rule,
        images=images,
        withheld=withheld,
    )
    offered = take_offered_run()
    stop = offered.stop if offered else asyncio.Event()
    return await end_in_order(stop, _sync_rule(offered, stop, request, rule))


async def _sync_rule(offered: RunContext | None, stop: asyncio.Event, request: RunRequest, rule: str) -> State[None]:
    by_itself = offered is None
    async with join_run(offered) if offered else open_run(request, move_blob, stop) as run:
        run.subflows[rule] = str(flow_run.id)
        await tag_flow_run(each for each in run.engine.configuration.rules if each.name == rule)
        copying = _copy_in_turn(run, rule) if by_itself else _copy_all(run, rule)
        with run.timed(rule):
            stopped = await run_until_stopped(run, [rule], copying)
        if by_itself:
            log_end(run)
        if is_root_run():
            await report_run(run)
        elif by_itself:
            await report_outcomes(run)
    return _end(run, rule, stopped=stopped)


def _end(run: RunContext, rule: str, *, stopped: bool) -> State[None]:
    figures = stats_by_rule(run.engine.outcomes.failures, run.engine.configuration.rules)
    failed = sum(each.failed for each in figures if each.rule == rule)
    message = f"{format_count(len(run.work.get(rule, {})), 'image')} to copy, {failed:,} failed"
    if stopped:
        return Cancelled(message=f"stopped; {message}")
    return Failed(message=message) if failed else Completed(message=message)


async def _copy_in_turn(run: RunContext, rule: str) -> None:
    """Copy once the limits of the registries let it."""
    (only,) = run.engine.configuration.rules
    async with slots(run, sorted(only.registries)):
        await _copy_all(run, rule)


async def _copy_all(run: RunContext, rule: str) -> None:
    if rule not in run.work:
        await plan(run, [rule])
    await for_each(run.work.get(rule, {}).values(), IMAGES_AT_ONCE, lambda job: copy(run, rule, job))
