"""A call of the Prefect server that the settings name, with errors in words where it cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import httpx
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_AUTH_STRING, get_current_settings, temporary_settings

from imageferry.text import describe_exception
from orchestration.server.auth_string import find_auth_string
from orchestration.server.health import UNAUTHORIZED
from orchestration.server.own_server import ServerError

Answer = TypeVar("Answer")


class NoServerSet(ServerError):
    """Neither the environment nor a profile names a Prefect server."""


def call_server(call: Coroutine[Any, Any, Answer]) -> Answer:
    """Run the coroutine in an event loop of its own and return its result.

    Raises ``ServerError`` where no server is set (``NoServerSet``), or it cannot be reached, or refuses.
    """
    url = get_current_settings().api.url
    if not url:
        call.close()
        raise NoServerSet(
            "no Prefect server is set: start one with make server, then "
            "export PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    try:
        with authenticated(url):
            return asyncio.run(call)
    except PrefectHTTPStatusError as error:
        raise ServerError(f"the Prefect server at {url} cannot be used: {describe_server_error(error)}") from None
    except (httpx.HTTPError, RuntimeError) as error:
        raise ServerError(f"the Prefect server at {url} cannot be used: {error}") from None


def authenticated(url: str) -> contextlib.AbstractContextManager[Any]:
    """Have clients of Prefect's that are made within the context know the string of a server that we have started."""
    auth = find_auth_string(url, os.environ, Path.cwd())
    return temporary_settings({PREFECT_API_AUTH_STRING: auth}) if auth else contextlib.nullcontext()


def describe_server_error(error: Exception) -> str:
    """Say what an error of Prefect's client means: what the server answers, and what to set."""
    if not isinstance(error, httpx.HTTPStatusError):
        return describe_exception(error)
    status, url = error.response.status_code, get_current_settings().api.url or ""
    if status in (401, 403):
        return f"it answers {status}: {UNAUTHORIZED}"
    if status in (404, 405) and not url.rstrip("/").endswith("/api"):
        return f"it answers {status}: does PREFECT_API_URL lack /api at its end?"
    return f"it answers {status}"
