"""Prefect's global concurrency limits: how many rules may be at a registry at once, over all workers."""

from __future__ import annotations

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.exceptions import ObjectNotFound

from orchestration.workers.registry_slots import limit_name

# As many rules as one run copies at once.
RULES = 4


async def make_limits(registries: list[str], rules: int = RULES) -> str:
    """Make the limits that are missing, and leave the others alone; return what to print of each."""
    lines = []
    async with get_client() as client:
        for registry in registries:
            name = limit_name(registry)
            try:
                existing = await client.read_global_concurrency_limit_by_name(name)
                lines.append(f"concurrency limit {name}: there already, {existing.limit} at once")
            except ObjectNotFound:
                await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=rules))
                lines.append(f"concurrency limit {name}: made, {rules} at once")
    return "\n".join(lines)
