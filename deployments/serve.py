"""All deployments on one machine, without a work pool and a worker: `python -m deployments.serve`."""

from __future__ import annotations

import os
import sys
from typing import Annotated
from zoneinfo import available_timezones

from cyclopts import App, Parameter
from prefect import serve
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from cli.exit_codes import DONE, USAGE
from deployments.server import ask_server
from flows.sync import sync
from flows.sync_rule import sync_rule
from orchestration.workers.runs import HEARTBEAT

NIGHTLY = "0 2 * * *"
UTC = "UTC"

app = App(name="python -m deployments.serve", help="Serve Imageferry's deployments on this machine, without a worker.")


def deployments(config: str, cron: str, timezone: str) -> list[RunnerDeployment]:
    """Give what prefect.yaml deploys, without its work pool. Raises ``ValueError`` for a time that is none."""
    # By module, so that it does not matter from which folder they are served.
    module = EntrypointType.MODULE_PATH
    return [
        RunnerDeployment.from_flow(
            sync,
            "scheduled",
            # The slug is prefect.yaml's: it takes the place of that schedule, and does not come beside it.
            schedule=Cron(cron, timezone=timezone, slug="nightly"),
            parameters={"config": config},
            description="Everything in the configuration. A run that is still at work lets the next one pass.",
            concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
            entrypoint_type=module,
        ),
        RunnerDeployment.from_flow(
            sync,
            "ad-hoc",
            parameters={"config": config},
            description="Now, with the parameters that are given.",
            entrypoint_type=module,
        ),
        RunnerDeployment.from_flow(
            sync_rule,
            "worker",
            parameters={"config": config},
            description="One rule of a configuration, by itself.",
            entrypoint_type=module,
        ),
    ]


async def already_in_work_pool(served: list[RunnerDeployment]) -> list[str]:
    """Give the names of those that are on the server already, and there belong to a work pool."""
    found = []
    async with get_client() as client:
        for each in served:
            try:
                deployment = await client.read_deployment_by_name(each.full_name)
            except ObjectNotFound:
                continue
            if deployment.work_pool_name:
                found.append(each.full_name)
    return found


@app.default
def main(
    *,
    config: Annotated[
        str, Parameter(help="A path on this machine, or the name of a stored configuration")
    ] = "config.json",
    cron: Annotated[str, Parameter(help="When sync/scheduled runs, as a cron line")] = NIGHTLY,
    timezone: Annotated[str, Parameter(help="The time zone of that, such as Europe/Berlin")] = UTC,
    limit: Annotated[int, Parameter(help="How many runs may be at work at once; others wait")] = 4,
) -> int:
    """Serve the deployments until Ctrl-C, which pauses their schedule."""
    if timezone not in available_timezones():
        print(f"--timezone {timezone}: is no time zone: expected such as UTC or Europe/Berlin", file=sys.stderr)
        return USAGE
    try:
        served = deployments(config, cron, timezone)
    except ValueError:
        print(f"--cron {cron!r}: is no cron line: expected such as '0 2 * * *', every night at two", file=sys.stderr)
        return USAGE
    if taken := ask_server(already_in_work_pool(served)):
        print(
            f"{', '.join(taken)}: belong to a work pool (make deploy), whose workers would take their runs. "
            "Delete these deployments first, or start a worker",
            file=sys.stderr,
        )
        return USAGE
    # With --distribute a run is given up that shows no sign of life for long; a work pool's runs are told this each.
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", str(HEARTBEAT))
    serve(*served, limit=limit)
    return DONE


if __name__ == "__main__":
    raise SystemExit(app())
