"""Whether a Prefect server answers. Imports neither prefect nor an HTTP library: it is asked before either is there."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})

# What an API's address lacks most often.
_API = "/api"

UNAUTHORIZED = "set PREFECT_API_AUTH_STRING or PREFECT_API_KEY to what it expects"


@dataclass(frozen=True)
class Answer:
    """How a server answers: the HTTP ``status``, None where there is no answer.

    ``problem`` says in words why it cannot be used; empty where it can as far as is known.
    """

    status: int | None
    problem: str = ""


def ask_health(api_url: str, seconds: float = 5.0) -> int | None:
    """Return the HTTP status with which the server at ``api_url`` answers, None where it does not within ``seconds``.

    Proxies of the environment are used, but not to reach this machine.
    """
    return ask_api(api_url, {}, seconds).status


def ask_api(api_url: str, settings: Mapping[str, str], seconds: float = 5.0) -> Answer:
    """Ask the server at ``api_url`` whether it is there, as Prefect's client would with these of the user's settings.

    They are by their names in the environment: certificates, credentials and headers.
    """
    try:
        if urlsplit(api_url).scheme not in ("http", "https"):
            raise ValueError("it is no address of an API: expected http://SERVER:4200/api")
        opener = _opener(api_url, settings)
        status, text = _get(opener, f"{api_url.rstrip('/')}/health", settings, seconds)
        if (status == 200 and text.strip() == b"true") or status not in (200, 404, 401, 403):
            return Answer(status)
        return Answer(status, _status_problem(opener, api_url, settings, status))
    except ssl.SSLError as error:
        return Answer(None, f"PREFECT_API_SSL_CERT_FILE cannot be used: {error.strerror or error}")
    except urllib.error.URLError as error:
        return Answer(None, _reason(error.reason, seconds))
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Answer(None, _reason(error, seconds))


def last_line(text: str, otherwise: str) -> str:
    """Return the last line that a server has printed, of a traceback the one that names the error."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    # After that a database's error has its statement, and uvicorn its own last words.
    errors = _ERROR.findall(text)
    return (errors or lines)[-1][:500] if lines else otherwise


# How a traceback names its error.
_ERROR = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception)\w*: \S.*$", re.MULTILINE)


def _status_problem(
    opener: urllib.request.OpenerDirector, api_url: str, settings: Mapping[str, str], status: int
) -> str:
    if status in (401, 403):
        return f"it answers {status}: {UNAUTHORIZED}"
    if not urlsplit(api_url).path.rstrip("/").endswith(_API):
        # The pages of its UI are there under any name.
        there, text = _get(opener, f"{api_url.rstrip('/')}{_API}/health", settings, 5.0)
        if there == 200 and text.strip() == b"true":
            return f"its API is at {api_url.rstrip('/')}{_API}: set PREFECT_API_URL to that"
    return "" if status == 200 else f"it answers {status}: is PREFECT_API_URL the address of its API?"


def _get(
    opener: urllib.request.OpenerDirector, url: str, settings: Mapping[str, str], seconds: float
) -> tuple[int, bytes]:
    request = urllib.request.Request(url)  # noqa: S310 - it is http or https
    for name, value in _headers(settings).items():
        # Not those of a redirect: it may lead to another host.
        request.add_unredirected_header(name, value)
    try:
        with opener.open(request, timeout=seconds) as response:
            return int(response.status), response.read(1000)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, b""


def _headers(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that Prefect's client sends besides its own; of two credentials, the string comes first."""
    headers: dict[str, str] = {}
    if auth := settings.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
    elif key := settings.get("PREFECT_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    custom = "PREFECT_CLIENT_CUSTOM_HEADERS"
    # Another one Prefect itself refuses.
    with contextlib.suppress(ValueError, AttributeError):
        headers |= {str(name): str(value) for name, value in json.loads(settings.get(custom) or "{}").items()}
    # In a TOML file it is a table. A header's name may be in capitals.
    within = f"{custom}_"
    return headers | {name.removeprefix(within): value for name, value in settings.items() if name.startswith(within)}


def _opener(api_url: str, settings: Mapping[str, str]) -> urllib.request.OpenerDirector:
    parts = urlsplit(api_url)
    handlers: list[urllib.request.BaseHandler] = []
    if parts.hostname in _THIS_MACHINE:
        handlers.append(urllib.request.ProxyHandler({}))
    if parts.scheme == "https":
        handlers.append(urllib.request.HTTPSHandler(context=_tls(settings)))
    return urllib.request.build_opener(*handlers)


def _tls(settings: Mapping[str, str]) -> ssl.SSLContext:
    """Return what Prefect's client verifies a server with: the authorities that are set, else those of certifi."""
    if settings.get("PREFECT_API_TLS_INSECURE_SKIP_VERIFY", "").strip().lower() in ("1", "true", "t", "yes", "y", "on"):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    import certifi  # noqa: PLC0415 - few servers are asked over TLS

    named = settings.get("PREFECT_API_SSL_CERT_FILE") or os.environ.get("SSL_CERT_FILE")
    try:
        return ssl.create_default_context(cafile=named or certifi.where())
    except OSError as error:
        raise ssl.SSLError(0, f"{named}: {error.strerror or error}") from None


def _reason(error: object, seconds: float) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not verify ({error.verify_message}): see PREFECT_API_SSL_CERT_FILE"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection: {error.reason or error.strerror or error}"
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    if isinstance(error, OSError):
        return (error.strerror or str(error) or type(error).__name__).lower()
    if isinstance(error, http.client.HTTPException):
        return "what answers there does not speak HTTP"
    return f"{error}" or type(error).__name__
