"""The keys of a run's artifacts: of one key, Prefect shows the latest, and all before it as its history."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import PurePath

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from imageferry.text import describe_exception
from orchestration.run_context import RunContext

logger = logging.getLogger("imageferry.history")


async def run_key(run: RunContext, kind: str) -> str:
    """Return the key of an artifact of this run: ``imageferry-summary-scheduled-nightly`` and so on.

    Runs have it in common that have deployment and configuration in common, and write to registries or do not.
    """
    if not run.artifacts_of:
        run.artifacts_of = await _origin()
    return f"imageferry-{kind}-{run.artifacts_of}"


def origin(deployment: str, config: str, *, dry_run: bool) -> str:
    """Return what of a key is the same in all runs of one kind."""
    path = PurePath(config)
    parts = [deployment, path.name]
    if len(path.parts) > 1 or len(path.name) > 50:
        # Another folder's configuration of the same name is another one.
        parts.append(hashlib.sha256(config.encode()).hexdigest()[:6])
    if dry_run:
        parts.append("dry-run")
    return "-".join(slug for part in parts if (slug := slugify(part, 50)))


def slugify(text: str, longest: int) -> str:
    """Return the text as a part of a key, which Prefect makes of lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:longest].strip("-")


async def _origin() -> str:
    context = FlowRunContext.get()
    parameters = (context.parameters if context else None) or {}
    config, dry_run = str(parameters.get("config") or ""), bool(parameters.get("dry_run"))
    deployment = ""
    if context and context.flow_run and context.flow_run.deployment_id:
        try:
            async with get_client() as client:
                deployment = (await client.read_deployment(context.flow_run.deployment_id)).name
        except Exception as error:
            # The artifact is worth more than its key.
            logger.info("Prefect did not say which deployment this is: %s", describe_exception(error))
    return origin(deployment, config, dry_run=dry_run) or "run"
