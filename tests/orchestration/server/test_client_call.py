"""What an error of Prefect's client means, in words."""

import httpx
import pytest
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings

from orchestration.server.client_call import authenticated, call_server, describe_server_error
from orchestration.server.own_server import ServerError
from tests.orchestration.server.test_health import answering


def refused(status: int) -> PrefectHTTPStatusError:
    """Return the error of a request that was answered so."""
    request = httpx.Request("GET", "http://127.0.0.1:4200/api/flows")
    return PrefectHTTPStatusError("many words", request=request, response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("http://h:4200/api", 401, "it answers 401: set PREFECT_API_AUTH_STRING or PREFECT_API_KEY to what it expects"),
        ("http://h:4200/api", 403, "it answers 403: set PREFECT_API_AUTH_STRING or PREFECT_API_KEY to what it expects"),
        ("http://h:4200/api/", 404, "it answers 404"),
        ("http://h:4200", 405, "it answers 405: does PREFECT_API_URL lack /api at its end?"),
        ("http://h:4200/api", 500, "it answers 500"),
    ],
)
def test_an_answer_is_said_with_what_to_set(url: str, status: int, words: str) -> None:
    with temporary_settings({PREFECT_API_URL: url}):
        assert describe_server_error(refused(status)) == words


def test_what_is_no_answer_is_said_as_it_is() -> None:
    assert describe_server_error(ValueError("no luck")) == "no luck"


def test_a_call_that_is_refused_names_the_server() -> None:
    async def call() -> None:
        raise refused(401)

    with answering(200) as url, temporary_settings({PREFECT_API_URL: url}):
        with pytest.raises(ServerError, match=f"^the Prefect server at {url} cannot be used: it answers 401: set "):
            call_server(call())
        with authenticated(url):
            pass
