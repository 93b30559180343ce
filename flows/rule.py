"""One rule of a configuration as a flow: under `sync`, or by itself on a worker."""

from __future__ import annotations

import contextlib

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows.opening import opened, planned, reported, stands_alone, stopped_early
from flows.parameters import AtLeastOne, ConfigName, ImageText, NotNegative, PlatformText, SourceText
from flows.slots import slots
from imageferry import words
from imageferry.concurrency import for_each
from imageferry.copy.errors import Interrupted
from imageferry.copy.options import DEFAULT_PROC, DEFAULT_RETRIES
from imageferry.copy.plan import Work
from imageferry.copy.runner import IMAGES_AT_ONCE
from imageferry.figures import by_rule
from tasks.current import Current, find_current
from tasks.failures import tell_failures
from tasks.hosts import tag_flow_run
from tasks.outcomes import publish_outcomes
from tasks.retries import with_retries
from tasks.steps import step
from tasks.tags import copy_tag


def run_name() -> str:
    """Give a run the name of its rule; who starts one of some of its images names it."""
    parameters = flow_run.parameters
    return str(flow_run.name if parameters.get("images") else parameters["rule"])


@flow(name="sync-rule", flow_run_name=run_name, persist_result=False, validate_parameters=True)
async def sync_rule(
    rule: SourceText,
    config: ConfigName,
    force: bool = False,
    platforms: list[PlatformText] | None = None,
    *,
    images: list[ImageText] | None = None,
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
        proc: Blobs in flight at once.
        retries: More attempts for a failed tag or blob.
    """
    by_itself = find_current() is None
    async with opened(
        config, force=force, platforms=platforms, proc=proc, retries=retries, rule=rule, images=images
    ) as run:
        run.subflows[rule] = str(flow_run.id)
        await tag_flow_run(each for each in run.ferry.configuration.rules if each.name == rule)
        copying = _copy_in_turn(run, rule) if by_itself else _copy_all(run, rule)
        with run.timed(rule):
            stopped = await stopped_early(run, [rule], copying)
        figures = by_rule(run.ferry.outcomes.failures, run.ferry.configuration.rules)
        failed = sum(each.failed for each in figures if each.rule == rule)
        if by_itself:
            tell_failures(run)
        if stands_alone():
            await reported(run)
        elif by_itself:
            await _tell(run)
    message = f"{words.count(len(run.work.get(rule, {})), 'image')} to copy, {failed:,} failed"
    if stopped:
        return Cancelled(message=f"stopped; {message}")
    return Failed(message=message) if failed else Completed(message=message)


async def _copy_in_turn(run: Current, rule: str) -> None:
    """Copy once the limits of the registries let it."""
    (only,) = run.ferry.configuration.rules
    async with slots(run, sorted(only.registries)):
        await _copy_all(run, rule)


async def _tell(run: Current) -> None:
    """Tell the run that has started this one what became of each image."""

    async def without() -> None:
        """Leave it: without Prefect's server there is no one to tell."""

    # It was stopped: what can be told by then is told.
    with contextlib.suppress(Interrupted):
        await step(run, publish_outcomes, without)


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
