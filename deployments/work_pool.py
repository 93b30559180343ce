"""The work pool of the deployments, made where the Prefect server has none: `python -m deployments.work_pool`."""

from __future__ import annotations

from deployments.server import run_on_server
from orchestration.deployments.work_pool import make_work_pool

if __name__ == "__main__":
    raise SystemExit(run_on_server(make_work_pool()))
