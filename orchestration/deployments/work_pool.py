"""The work pool of the deployments, made where the Prefect server has none."""

from __future__ import annotations

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

from orchestration.deployments.definition import WORK_POOL


async def make_work_pool() -> str:
    """Make the pool unless it exists; return what to print of it.

    With the template of Prefect's own process worker: its command line would ask the internet for it.
    """
    pool = WorkPoolCreate(
        name=WORK_POOL,
        type=ProcessWorker.type,
        base_job_template=ProcessWorker.get_default_base_job_template(),
        description="Imageferry's runs, each a process beside its worker",
    )
    async with get_client() as client:
        try:
            await client.create_work_pool(pool)
        except ObjectAlreadyExists:
            return f"work pool {WORK_POOL}: there already"
    return f"work pool {WORK_POOL}: made"
