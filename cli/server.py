"""`imageferry server`: Prefect's server and its UI on this machine."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from cli.exit_codes import DONE, FAILED
from cli.request import refuse
from orchestration.server.local_server import PORT, run_local_server, start_local_server
from orchestration.server.own_server import ServerError, SetupError


def server(
    *,
    port: Annotated[int, Parameter(help="The port of the API and the UI")] = PORT,
    foreground: Annotated[
        bool, Parameter(negative=(), help="Stay here until a signal ends it, as systemd does")
    ] = False,
) -> int:
    """Start Prefect's server and its UI on this machine, in the background.

    Its settings suit long histories. It asks for a string that is made at the first start, and kept in Prefect's
    folder. It goes on until `prefect server stop`.
    """
    try:
        if foreground:
            run_local_server(port)
        print(start_local_server(port))
    except SetupError as error:
        refuse([str(error)])
    except ServerError as error:
        print(f"imageferry: {error}", file=sys.stderr)
        return FAILED
    return DONE
