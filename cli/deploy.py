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
from orchestration.server.local_server import lead_to_server
from orchestration.server.own_server import ServerError, SetupError
from orchestration.server.prefect_import import prefect_settings_checked


def deploy(
    *,
    config: Annotated[
        Path | None,
        Parameter(help="The configuration of the runs; without it ./config.json, then .yaml, .yml, where there is one"),
    ] = None,
) -> int:
    """Put the deployments on the Prefect server: work pool, block types, deployments, limits, automations.

    The server is the one at PREFECT_API_URL or in the Prefect profile, else the one on this machine.
    """
    folder = Path.cwd()
    try:
        found = find_configuration(config, folder)
        registries = registries_in(found)
    except ConfigurationError as error:
        refuse(str(error).splitlines())
    try:
        lead_to_server(os.environ, folder)
        with prefect_settings_checked():
            from orchestration.deployments import deploy as steps  # noqa: PLC0415 - it imports prefect

        for step in steps.deploy(config_parameter(found, folder), registries):
            print(step, flush=True)
    except SetupError as error:
        refuse([str(error)])
    except ServerError as error:
        print(f"imageferry: {error}", file=sys.stderr)
        return FAILED
    return DONE
