"""The Prefect server that the settings name, and what a person is told where it cannot be used."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

import httpx
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

DONE = 0
FAILED = 1
USAGE = 2


def run_on_server(work: Coroutine[Any, Any, str]) -> int:
    """Do the work and print what it gives; give the exit status."""
    url = get_current_settings().api.url
    if not url:
        work.close()
        print(
            "no Prefect server is set: start one with .venv/bin/prefect server start, then "
            "export PREFECT_API_URL=http://127.0.0.1:4200/api",
            file=sys.stderr,
        )
        return USAGE
    try:
        print(asyncio.run(work))
    except PrefectHTTPStatusError as error:
        print(f"the Prefect server at {url} answers {error.response.status_code}", file=sys.stderr)
        return FAILED
    except (httpx.HTTPError, RuntimeError) as error:
        print(f"the Prefect server at {url} cannot be used: {error}", file=sys.stderr)
        return FAILED
    return DONE
