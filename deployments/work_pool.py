"""The work pool of the deployments, made where the Prefect server has none: `python -m deployments.work_pool`."""

from __future__ import annotations

import asyncio
import sys

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists, PrefectHTTPStatusError
from prefect.settings import get_current_settings
from prefect.workers.process import ProcessWorker

NAME = "imageferry"
USAGE = 2


async def make_work_pool() -> bool:
    """Make the pool unless it is there; give whether it was made.

    With the template of Prefect's own process worker: its command line would ask the internet for it.
    """
    pool = WorkPoolCreate(
        name=NAME,
        type=ProcessWorker.type,
        base_job_template=ProcessWorker.get_default_base_job_template(),
        description="Imageferry's runs, each a process beside its worker",
    )
    async with get_client() as client:
        try:
            await client.create_work_pool(pool)
        except ObjectAlreadyExists:
            return False
    return True


def main() -> int:
    """Make the pool on the server that Prefect's settings name; give the exit status."""
    url = get_current_settings().api.url
    if not url:
        print(
            "no Prefect server is set: start one with .venv/bin/prefect server start, then "
            "make deploy PREFECT_API_URL=http://127.0.0.1:4200/api",
            file=sys.stderr,
        )
        return USAGE
    try:
        made = asyncio.run(make_work_pool())
    except PrefectHTTPStatusError as error:
        print(f"the Prefect server at {url} answers {error.response.status_code}", file=sys.stderr)
        return 1
    except (httpx.HTTPError, RuntimeError) as error:
        print(f"the Prefect server at {url} cannot be used: {error}", file=sys.stderr)
        return 1
    print(f"work pool {NAME}: {'made' if made else 'there already'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
