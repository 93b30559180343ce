"""`imageferry worker`: a worker of Prefect's for the deployments."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import Parameter

from cli.request import refuse
from orchestration.deployments.definition import WORK_POOL
from orchestration.own_process import module_command
from orchestration.server.local_server import lead_to_server
from orchestration.server.own_server import SetupError


def worker(
    *flags: Annotated[
        str, Parameter(allow_leading_hyphen=True, help="Flags of prefect worker start, such as --limit 4")
    ],
) -> NoReturn:
    """Run what is due and what is asked for, until Ctrl-C: a worker for the deployments of `imageferry deploy`.

    The server is the one at PREFECT_API_URL or in the Prefect profile, else the one on this machine.
    """
    command = module_command("prefect", "worker", "start", "--pool", WORK_POOL, *flags)
    environment = dict(os.environ)
    try:
        lead_to_server(environment, Path.cwd())
    except SetupError as error:
        refuse([str(error)])
    # In place of this process: its signals are the worker's. Its runs have paths of their own, which Prefect makes.
    os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted
