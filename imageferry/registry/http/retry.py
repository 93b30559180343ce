"""Retries of one exchange with a registry: a broken connection, 408, 429 and 5xx."""

from __future__ import annotations

import logging
import random
from typing import Any

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, retry_if_result
from tenacity.retry import retry_base

from imageferry.registry.errors import ERROR_BODY_LIMIT, TRANSIENT_STATUSES
from imageferry.registry.http.body import PacedUploadBody, is_replayable, pace_download, read_bounded
from imageferry.registry.http.extensions import BODY_LIMIT, NO_RETRY
from imageferry.registry.http.location import read_location, resolve
from imageferry.registry.http.patience import AnswerDeadline
from imageferry.registry.limits.limiter import RequestLimiter
from imageferry.registry.limits.quota import retry_after
from imageferry.registry.redaction import redact
from imageferry.registry.transport_errors import SlowAnswer, is_permanent
from imageferry.text import escape_control

logger = logging.getLogger(__name__)

# Tries of one exchange, those of one whose answer comes too slowly, and the longest pause between two, in seconds.
ATTEMPTS = 4
ATTEMPTS_IF_SLOW = 2
LONGEST_PAUSE = 60.0


class RetryTransport(httpx.AsyncBaseTransport):
    """Sends each request through the limiter, and sends again what failed and can be sent twice.

    A request with a streamed body takes none of the limiter's slots, and is not sent again once a byte of it has been
    taken: its blob is retried as a whole.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, limiter: RequestLimiter) -> None:
        self._inner = inner
        self._limiter = limiter

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send; on a broken connection, 408, 429 or 5xx wait (``Retry-After`` if given) and send again.

        Raises ``httpx.TransportError`` and ``RegistryError``.
        """
        if request.extensions.get(NO_RETRY):
            return await self._limiter.send(request, self._exchange)
        body = None if is_replayable(request) else PacedUploadBody(request.stream, self._limiter.limits.upload)
        if body is not None:
            request.stream = body
        first: httpx.Response | httpx.TransportError
        try:
            first = await self._once(request)
        except httpx.TransportError as error:
            first = error
        if isinstance(first, httpx.Response) and (body is not None or not _is_transient(first)):
            # Nearly all end here: to count the tries of each would be a tenth of what a HEAD costs.
            return first
        return await self._again(request, first, _RETRY if body is None else _retry_unbegun(body))

    async def _again(
        self, request: httpx.Request, first: httpx.Response | httpx.TransportError, retry: retry_base
    ) -> httpx.Response:
        """Go on after a first try that failed."""
        known = [first]

        async def send(request: httpx.Request) -> httpx.Response:
            if not known:
                return await self._once(request)
            outcome = known.pop()
            if isinstance(outcome, httpx.Response):
                return outcome
            raise outcome

        retrying = AsyncRetrying(
            stop=_is_last_try,
            wait=_pause,
            retry=retry,
            before_sleep=_log_pause,
            retry_error_callback=_last_outcome,
        )
        response: httpx.Response = await retrying(send, request)
        return response

    async def _once(self, request: httpx.Request) -> httpx.Response:
        if not is_replayable(request):
            return await self._limiter.send(request, self._exchange, bounded=False)
        for rate in self._limiter.limits.upload:
            if size := _size_of(request):
                await rate.acquire(size)
        return await self._limiter.send(request, self._exchange)

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        body = request.stream if isinstance(request.stream, PacedUploadBody) else None
        async with AnswerDeadline(None if body else _size_of(request)) as deadline:
            if body is not None:
                body.when_sent = deadline.extend
            response = await self._inner.handle_async_request(request)
            limit: int | None = request.extensions.get(BODY_LIMIT)
            if limit is None and not response.is_success:
                # A refusal, redirect or challenge, whose body httpx would read to its end: its connection is free now.
                limit = ERROR_BODY_LIMIT
            if limit is not None:
                if request.method != "HEAD":
                    deadline.extend()
                response = await read_bounded(response, limit)
        if limit is None:
            pace_download(response, self._limiter.limits)
        elif response.has_redirect_location:
            # httpx would change some addresses, and stumble over others.
            response.headers["location"] = str(resolve(request.url, read_location(response.headers)))
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def _size_of(request: httpx.Request) -> int:
    """Return the bytes of a body that is in memory."""
    return 0 if request.method in ("GET", "HEAD") else int(request.headers.get("content-length", 0))


def _may_reconnect(error: BaseException) -> bool:
    return isinstance(error, httpx.TransportError) and not is_permanent(error)


def _is_transient(response: httpx.Response) -> bool:
    # Quay and Nexus answer 500 NAME_UNKNOWN for a repository that does not exist yet: final.
    return response.status_code in TRANSIENT_STATUSES and b"NAME_UNKNOWN" not in response.content


_RETRY = retry_if_exception(_may_reconnect) | retry_if_result(_is_transient)


def _retry_unbegun(body: PacedUploadBody) -> retry_base:
    """Return the condition for another try of a stream: nothing of it has been taken yet."""
    return retry_if_exception(lambda error: not body.begun and _may_reconnect(error))


def _is_last_try(state: RetryCallState) -> bool:
    slow = state.outcome is not None and isinstance(state.outcome.exception(), SlowAnswer)
    return state.attempt_number >= (ATTEMPTS_IF_SLOW if slow else ATTEMPTS)


def _last_outcome(state: RetryCallState) -> Any:
    assert state.outcome is not None
    return state.outcome.result()


def _pause(state: RetryCallState) -> float:
    """Return the seconds to wait: ``Retry-After``, else exponential with jitter, so that tasks spread out."""
    longest: float = min(0.5 * 2 ** (state.attempt_number - 1), LONGEST_PAUSE)
    backoff = random.uniform(0.25, 1.0) * longest  # noqa: S311 - jitter, not a secret
    if state.outcome is None or state.outcome.failed:
        return backoff
    asked = retry_after(state.outcome.result().headers)
    return backoff if asked is None else min(max(asked, backoff), LONGEST_PAUSE)


def _log_pause(state: RetryCallState) -> None:
    request: httpx.Request = state.args[0]
    assert state.outcome is not None
    assert state.next_action is not None
    why = str(state.outcome.exception()) if state.outcome.failed else str(state.outcome.result().status_code)
    # The address of a redirect is a registry's text.
    logger.info(
        "%s %s%s: %s; again in %.1f s",
        request.method,
        request.url.netloc.decode(),
        escape_control(redact(request.url.path)),
        escape_control(redact(why)),
        state.next_action.sleep,
    )
