"""The commands. What is asked for is checked before prefect is imported."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from cli.deploy import deploy
from cli.exit_codes import FAILED, INTERRUPTED
from cli.request import Request, load_configuration, refuse
from cli.server import server
from cli.worker import worker
from imageferry import __version__
from imageferry.credentials.named import NamedCredentials
from orchestration.server.own_server import (
    ConfiguredServer,
    NoServer,
    ServerError,
    SetupError,
    configured_server,
    find_or_start_server,
)
from orchestration.server.prefect_import import prefect_settings_checked

app = App(
    name="imageferry",
    help="Copy container images from registry to registry, as a configuration says.",
    version=f"imageferry {__version__}",
    default_parameter=Parameter(negative=(), show_default=lambda value: str(value) if value else None),
)

# Each flag has its default.
_NOTHING_ASKED = Request()


@app.default
def sync(request: Annotated[Request, Parameter(name="*")] = _NOTHING_ASKED) -> int:
    """Copy container images from registry to registry, as a configuration says.

    Exit status: 0 everything is at its destination, 1 some image failed, 2 usage or configuration, 130 interrupted.
    """
    named = NamedCredentials()
    configuration = load_configuration(request, named)
    for notice in request.notices:
        print(f"imageferry: {notice}", file=sys.stderr)
    if not configuration.rules:
        print("imageferry: nothing to do: there are no rules", file=sys.stderr)
    if request.no_history and named.names:
        refuse(
            [f"credentials {name}: Prefect keeps them, and --no-history is without it" for name in sorted(named.names)]
        )
    wait = None
    with contextlib.ExitStack() as opened:
        try:
            if request.distribute:
                wait = _workers(request)
            elif not request.no_history:
                wait = opened.enter_context(_server(sorted(named.names))).wait_until_ready
            from cli.run import prepare, run  # noqa: PLC0415 - they import what takes a while; the server starts

            if wait is not None and named.names:
                prepare(request)
                wait(lambda seconds: None)
                with prefect_settings_checked():
                    from orchestration.blocks.stored import read_access_block  # noqa: PLC0415 - it imports prefect

                configuration = load_configuration(request, read_access_block)
            return run(request, configuration, wait)
        except SetupError as error:
            refuse([f"{error}; or copy with --no-history, without Prefect"])
        except ServerError as error:
            print(f"imageferry: {error}", file=sys.stderr)
            return FAILED
        except KeyboardInterrupt:
            return INTERRUPTED


# `imageferry sync` and `python -m flows.sync` are one with `imageferry` and flags.
app.command(sync, name="sync")
app.command(deploy)
app.command(server)
app.command(worker)


def _server(blocks: list[str]) -> ConfiguredServer:
    """Return the run's server; it is said where that is not the one that is set.

    ``blocks`` are those that the configuration names: they are on the server that is set, and on no other. Raises
    ``ServerError``; without blocks only ``SetupError``, since all is copied without a server too.
    """
    try:
        found = find_or_start_server()
    except SetupError:
        raise
    except ServerError as error:
        if blocks:
            raise
        return NoServer(str(error))
    if found.is_substitute and blocks:
        found.close()
        raise ServerError(f"{found.notice.partition(';')[0]}: it has the credentials {', '.join(blocks)}")
    if found.notice:
        print(f"imageferry: {found.notice}", file=sys.stderr)
    return found


def _workers(request: Request) -> Callable[[Callable[[float], None]], None]:
    """Return the wait for the server; report what ``--distribute`` lacks and end, where something is missing."""
    try:
        server = configured_server()
    except ServerError as error:
        refuse([f"--distribute: {error}", "workers are told what to copy by a server of yours: see docs/prefect.md"])
    from cli.run import prepare  # noqa: PLC0415 - it imports what takes a while

    prepare(request)
    with prefect_settings_checked():
        from orchestration.workers.distribute import find_workers_problem  # noqa: PLC0415 - it imports prefect

    if problem := find_workers_problem():
        refuse([f"--distribute: {problem}"])
    return server.wait_until_ready


def run(words: list[str]) -> int:
    """Do what the words of the command line ask for; return the exit status."""
    try:
        status = app(
            words,
            exit_on_error=False,
            print_error=False,
            error_console=Console(stderr=True),
            result_action="return_value",
        )
    except CycloptsError as error:
        refuse([f"{error}".strip(), "see --help"])
    return status if isinstance(status, int) else 0
