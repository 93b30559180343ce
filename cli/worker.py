"""`imageferry worker`: a worker of Prefect's for the deployments."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import Parameter

from orchestration.deployments.definition import WORK_POOL
from orchestration.own_process import module_command
from orchestration.server.local_server import api_url_or_local


def worker(
    *flags: Annotated[
        str, Parameter(allow_leading_hyphen=True, help="Flags of prefect worker start, such as --limit 4")
    ],
) -> NoReturn:
    """Run what is due and what is asked for, until Ctrl-C: a worker for the deployments of `imageferry deploy`.

    The server is the one at PREFECT_API_URL or in the Prefect profile, else the one on this machine.
    """
    command = module_command("prefect", "worker", "start", "--pool", WORK_POOL, *flags)
    environment = os.environ | {"PREFECT_API_URL": api_url_or_local(os.environ, Path.cwd())}
    # In place of this process: its signals are the worker's. Its runs have paths of their own, which Prefect makes.
    os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted
