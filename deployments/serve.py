"""All deployments on one machine, without a work pool and a worker: `python -m deployments.serve`."""

from __future__ import annotations

import sys
from typing import Annotated
from zoneinfo import available_timezones

from cyclopts import App, Parameter
from prefect import serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron
from prefect.settings import get_current_settings
from prefect.types.entrypoint import EntrypointType

from deployments.server import DONE, USAGE
from flows.rule import sync_rule
from flows.sync import sync

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
    if not get_current_settings().api.url:
        print("no Prefect server is set: export PREFECT_API_URL=http://127.0.0.1:4200/api", file=sys.stderr)
        return USAGE
    if timezone not in available_timezones():
        print(f"--timezone {timezone}: is no time zone: expected such as UTC or Europe/Berlin", file=sys.stderr)
        return USAGE
    try:
        served = deployments(config, cron, timezone)
    except ValueError:
        print(f"--cron {cron!r}: is no cron line: expected such as '0 2 * * *', every night at two", file=sys.stderr)
        return USAGE
    serve(*served, limit=limit)
    return DONE


if __name__ == "__main__":
    raise SystemExit(app())
