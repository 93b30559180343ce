"""One rule of a configuration as a flow: under `sync`, or by itself on a worker."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.opening import opened
from flows.parameters import ConfigName, PlatformText, SourceText
from imageferry import words
from imageferry.concurrency import for_each
from imageferry.copy.plan import Work
from tasks.current import Current
from tasks.plan import plan_rules
from tasks.retries import with_retries
from tasks.tags import copy_tag

#: Images of one rule that are copied at the same time: enough to fill the blob slots, few enough to keep memory small.
IMAGES_AT_ONCE = 12


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
        if rule not in run.work:
            await run.history.began()
            await plan_rules([rule])
        works = run.work.get(rule, {})
        before = len(run.ferry.outcomes.failures)
        await for_each(works.values(), IMAGES_AT_ONCE, lambda work: _copy(run, rule, work))
        failed = len(run.ferry.outcomes.failures) - before
    message = f"{words.count(len(works), 'image')} to copy, {failed:,} failed"
    return Failed(message=message) if failed else Completed(message=message)


async def _copy(run: Current, rule: str, work: Work) -> None:
    await run.history.began()
    attempt = with_retries(copy_tag, run.ferry.options.retries)
    try:
        await attempt(work.label, rule)
    except Exception as error:
        # Whatever it is, it costs this image alone, and is reported.
        run.ferry.give_up(work, error)
