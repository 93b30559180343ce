"""Calls of the Prefect server for the programs of this folder, which end with a message where it cannot be used."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from cli.exit_codes import DONE, FAILED, USAGE
from orchestration.server.client_call import NoServerSet, call_server
from orchestration.server.own_server import ServerError

Answer = TypeVar("Answer")


def ask_server(call: Coroutine[Any, Any, Answer]) -> Answer:
    """Return the result of the call. Ends the process, with a message, where the server cannot be used."""
    try:
        return call_server(call)
    except ServerError as error:
        print(error, file=sys.stderr)
        raise SystemExit(USAGE if isinstance(error, NoServerSet) else FAILED) from None


def run_on_server(call: Coroutine[Any, Any, str]) -> int:
    """Print the result of the call; return the exit status."""
    print(ask_server(call))
    return DONE
