"""`imageferry deploy`: the deployments, put on a Prefect server."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cli.exit_codes import DONE, FAILED
from cli.request import refuse
from imageferry.config import ConfigurationError
from orchestration.deployments.configuration import config_parameter, find_configuration, registries_in
from orchestration.server.local_server import api_url_or_local
from orchestration.server.own_server import ServerError


def deploy(
    *,
    config: Annotated[
        Path | None,
        Parameter(help="The configuration of the runs; without it ./config.json, then .yaml, .yml, where there is one"),
    ] = None,
) -> int:
    """Put the deployments on the Prefect server: work pool, block types, deployments, limits.

    The server is the one at PREFECT_API_URL or in the Prefect profile, else the one on this machine.
    """
    folder = Path.cwd()
    try:
        found = find_configuration(config, folder)
        registries = registries_in(found)
    except ConfigurationError as error:
        refuse(str(error).splitlines())
    os.environ["PREFECT_API_URL"] = api_url_or_local(os.environ, folder)
    from orchestration.deployments import deploy as steps  # noqa: PLC0415 - it imports prefect

    try:
        for step in steps.deploy(config_parameter(found, folder), registries):
            print(step, flush=True)
    except ServerError as error:
        print(f"imageferry: {error}", file=sys.stderr)
        return FAILED
    return DONE
