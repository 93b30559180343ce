"""All deployments on one machine, without a work pool and a worker: `python -m deployments.serve`."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any
from zoneinfo import available_timezones

from cyclopts import App, Parameter
from prefect import Flow, serve
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron, Schedule
from prefect.settings import get_current_settings
from prefect.types.entrypoint import EntrypointType

from cli.exit_codes import DONE, USAGE
from deployments.server import ask_server
from flows.sync import sync
from flows.sync_rule import sync_rule
from orchestration.deployments.definition import (
    AD_HOC,
    CONFIG,
    DEPLOYMENTS,
    NIGHTLY,
    RULE_WORKER,
    SCHEDULED,
    SLUG,
    TIMEZONE,
    Deployment,
)
from orchestration.own_process import project_environment
from orchestration.server.client_call import authenticated
from orchestration.workers.runs import HEARTBEAT

app = App(name="python -m deployments.serve", help="Serve Imageferry's deployments on this machine, without a worker.")


_FLOWS: dict[str, Flow[..., Any]] = {
    SCHEDULED.entrypoint: sync,
    AD_HOC.entrypoint: sync,
    RULE_WORKER.entrypoint: sync_rule,
}


def deployments(config: str, cron: str, timezone: str) -> list[RunnerDeployment]:
    """Return the deployments of prefect.yaml without its work pool. Raises ``ValueError`` for a bad cron line."""
    return [_served(each, config, Cron(cron, timezone=timezone, slug=SLUG)) for each in DEPLOYMENTS]


def _served(deployment: Deployment, config: str, nightly: Schedule) -> RunnerDeployment:
    one_at_a_time = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    return RunnerDeployment.from_flow(
        _FLOWS[deployment.entrypoint],
        deployment.name,
        schedule=nightly if deployment.is_scheduled else None,
        concurrency_limit=one_at_a_time if deployment.is_scheduled else None,
        parameters={"config": config},
        description=deployment.describe("the configuration"),
        # By module, so that it does not matter from which folder they are served.
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


async def already_in_work_pool(served: list[RunnerDeployment]) -> list[str]:
    """Return the names of those that exist on the server and belong to a work pool there."""
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
    config: Annotated[str, Parameter(help="A path on this machine, or the name of a stored configuration")] = CONFIG,
    cron: Annotated[str, Parameter(help="When sync/scheduled runs, as a cron line")] = NIGHTLY,
    timezone: Annotated[str, Parameter(help="The time zone of that, such as Europe/Berlin")] = TIMEZONE,
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
    # With --distribute a run that shows no sign of life is given up; runs of a work pool get this each.
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", str(HEARTBEAT))
    # Runs start in the current directory, and import the project by name.
    os.environ.update(project_environment(os.environ))
    with authenticated(get_current_settings().api.url or ""):
        serve(*served, limit=limit)
    return DONE


if __name__ == "__main__":
    raise SystemExit(app())
