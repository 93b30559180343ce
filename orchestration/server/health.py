"""Whether a Prefect server answers. Imports neither prefect nor an HTTP library: it is asked before either is there."""

from __future__ import annotations

import functools
import http.client
import urllib.error
import urllib.request
from urllib.parse import urlsplit

_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})


def ask_health(api_url: str, seconds: float = 5.0) -> int | None:
    """Return the HTTP status with which the server at ``api_url`` answers, None where it does not within ``seconds``.

    Proxies of the environment are used, but not to reach this machine.
    """
    try:
        here = urlsplit(api_url).hostname in _THIS_MACHINE
        opener = _direct() if here else urllib.request.build_opener()
        with opener.open(f"{api_url}/health", timeout=seconds) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except (OSError, ValueError, http.client.HTTPException):
        return None


def last_line(text: str, otherwise: str) -> str:
    """Return the last line that a server has printed, of a traceback the one that names the error."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return lines[-1][:500] if lines else otherwise


@functools.cache
def _direct() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
