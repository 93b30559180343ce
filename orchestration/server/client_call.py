"""A call of the Prefect server that the settings name, with errors in words where it cannot be used."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import httpx
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

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
        return asyncio.run(call)
    except PrefectHTTPStatusError as error:
        raise ServerError(f"the Prefect server at {url} answers {error.response.status_code}") from None
    except (httpx.HTTPError, RuntimeError) as error:
        raise ServerError(f"the Prefect server at {url} cannot be used: {error}") from None
