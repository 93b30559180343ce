"""The Prefect server that the settings name, and what a person is told where it cannot be used."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

import httpx
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

from cli.exit_codes import DONE, FAILED, USAGE

Answer = TypeVar("Answer")


def ask_server(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Do the work and give what it gives. Ends the process, with words, where the server cannot be used."""
    url = get_current_settings().api.url
    if not url:
        work.close()
        _end(
            USAGE,
            "no Prefect server is set: start one with make server, then "
            "export PREFECT_API_URL=http://127.0.0.1:4200/api",
        )
    try:
        return asyncio.run(work)
    except PrefectHTTPStatusError as error:
        _end(FAILED, f"the Prefect server at {url} answers {error.response.status_code}")
    except (httpx.HTTPError, RuntimeError) as error:
        _end(FAILED, f"the Prefect server at {url} cannot be used: {error}")


def run_on_server(work: Coroutine[Any, Any, str]) -> int:
    """Do the work and print what it gives; give the exit status."""
    print(ask_server(work))
    return DONE


def _end(status: int, words: str) -> NoReturn:
    print(words, file=sys.stderr)
    raise SystemExit(status)
