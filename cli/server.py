"""`imageferry server`: Prefect's server and its UI on this machine."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from cli.exit_codes import DONE, FAILED
from orchestration.server.local_server import PORT, start_local_server
from orchestration.server.own_server import ServerError


def server(*, port: Annotated[int, Parameter(help="The port of the API and the UI")] = PORT) -> int:
    """Start Prefect's server and its UI on this machine, in the background.

    Its settings suit long histories. It goes on until `prefect server stop`.
    """
    try:
        print(start_local_server(port))
    except ServerError as error:
        print(error, file=sys.stderr)
        return FAILED
    return DONE
