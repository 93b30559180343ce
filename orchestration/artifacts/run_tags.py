"""The tags of flow runs: the registries they deal with, so that one can filter by them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from imageferry.model import Rule
from imageferry.text import describe_exception

logger = logging.getLogger("imageferry.history")

# Tags of one flow run; of more hosts, those that most rules name.
MOST = 20


def registry_tags(rules: Iterable[Rule]) -> list[str]:
    """Return the hosts of the rules' sources and destinations."""
    counted: Counter[str] = Counter()
    for rule in rules:
        counted.update(rule.registries)
    most = sorted(counted, key=lambda host: (-counted[host], host))[:MOST]
    return sorted(most)


async def tag_flow_run(rules: Iterable[Rule]) -> None:
    """Return the flow run of this context the tags that it lacks: one request, and none where it has them."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    before = context.flow_run.tags
    if missing := [host for host in registry_tags(rules) if host not in before]:
        try:
            async with get_client() as client:
                await client.update_flow_run(context.flow_run.id, tags=[*before, *missing])
        except Exception as error:
            # Without them the run is harder to find, and no worse.
            logger.info("Prefect did not take the tags: %s", describe_exception(error))
