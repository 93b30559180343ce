"""Old runs deleted from Prefect's database: `python -m deployments.vacuum --older-than 90d`.

A server that runs all the time can do this by itself, for the runs of all flows (see docs/prefect.md). This program
deletes the runs of Imageferry alone, and is for the database that runs on the command line leave behind.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from orchestration.server.own_server import ServerError, find_or_start_server
from orchestration.server.prefect_settings import CLIENT_DEFAULTS, set_defaults

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import PrefectClient

FLOWS = ["sync", "sync-rule"]

# Runs that are listed at once, as many as Prefect gives.
PAGE = 200

app = App(name="python -m deployments.vacuum", help="Delete old runs of Imageferry from Prefect's database.")


async def delete_runs(older_than: timedelta, *, dry_run: bool = False) -> str:
    """Delete the runs that ended that long ago, each with its task runs, logs and artifacts; return what to print."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - the server is started before it is imported

    before = datetime.now(UTC) - older_than
    async with get_client() as client:
        if dry_run:
            count = await _count(client, before)
            return f"{count:,} runs ended before {before:%Y-%m-%d %H:%M} UTC: nothing is deleted"
        runs = artifacts = 0
        while found := await _page(client, before):
            for identity in found:
                artifacts += await _delete_artifacts(client, identity)
                # One at a time: a single run may have ten thousand task runs, which go with it.
                await client.delete_flow_run(identity)
                runs += 1
            print(f"{runs:,} runs deleted", file=sys.stderr)
    return f"{runs:,} runs and {artifacts:,} artifacts deleted, from before {before:%Y-%m-%d %H:%M} UTC"


def _ended(before: datetime) -> dict[str, object]:
    return {
        "flows": {"name": {"any_": FLOWS}},
        "flow_runs": {
            "end_time": {"before_": before.isoformat()},
            "state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}},
        },
    }


async def _count(client: PrefectClient, before: datetime) -> int:
    answer = await client.request("POST", "/flow_runs/count", json=_ended(before))
    return int(answer.json())


async def _page(client: PrefectClient, before: datetime) -> list[UUID]:
    body = _ended(before) | {"sort": "END_TIME_DESC", "limit": PAGE}
    answer = await client.request("POST", "/flow_runs/filter", json=body)
    return [each["id"] for each in answer.json()]


async def _delete_artifacts(client: PrefectClient, flow_run: UUID) -> int:
    """Delete a run's artifacts, which Prefect leaves when the run goes."""
    deleted = 0
    body = {"artifacts": {"flow_run_id": {"any_": [str(flow_run)]}}, "limit": PAGE}
    while found := (await client.request("POST", "/artifacts/filter", json=body)).json():
        for each in found:
            await client.delete_artifact(each["id"])
            deleted += 1
    return deleted


@app.default
def main(
    *,
    older_than: Annotated[timedelta, Parameter(help="How long ago a run has ended, such as 90d, 2w or 36h")],
    dry_run: Annotated[bool, Parameter(negative=(), help="Count, and delete nothing")] = False,
) -> int:
    """Delete the runs of `sync` and `sync-rule` that ended before that, with their task runs, logs and artifacts."""
    if older_than < timedelta():
        print("--older-than: expected a time in the past, such as 90d", file=sys.stderr)
        return 2
    with find_or_start_server() as server:
        if server.notice:
            # Another database than the one that was meant.
            print(f"{server.notice.partition(';')[0]}: nothing is deleted", file=sys.stderr)
            return 1
        set_defaults(os.environ, CLIENT_DEFAULTS)
        try:
            server.wait_until_ready(lambda seconds: None)
        except ServerError as error:
            print(error, file=sys.stderr)
            return 1
        from deployments.server import run_on_server  # noqa: PLC0415 - it imports prefect, which reads what was set

        return run_on_server(delete_runs(older_than, dry_run=dry_run))


if __name__ == "__main__":
    raise SystemExit(app())
