"""The HTTP client of one registry: aiohttp beneath httpx, large reads, one exchange tried again where it may heal."""

from __future__ import annotations

import base64
import contextlib
import functools
import logging
import random
import ssl
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, retry_if_result, stop_after_attempt
from tenacity.retry import retry_base

from imageferry import __version__
from imageferry.model import RegistryAccess
from imageferry.registry.errors import ERROR_BODY_LIMIT, TRANSIENT_STATUSES, causes
from imageferry.registry.http.internal_hosts import GuardedResolver
from imageferry.registry.http.proxies import environment_proxies
from imageferry.registry.limits.limiter import RequestLimiter
from imageferry.registry.limits.quota import retry_after
from imageferry.registry.limits.rate import RateLimiter
from imageferry.text import escape_control

logger = logging.getLogger(__name__)

USER_AGENT = f"imageferry/{__version__}"

#: How much of a blob is read at once, in bytes: aiohttp's default of 16 KiB costs twice the CPU.
READ_SIZE = 1024 * 1024

#: Tries of one exchange, and the longest pause between two of them, in seconds.
ATTEMPTS = 4
LONGEST_PAUSE = 60.0

#: The extension of a request that is sent once, whatever the answer.
NO_RETRY = "imageferry.once"

#: The extension of a request whose answer is read whole, so that one which breaks off is asked for again: its limit.
BODY_LIMIT = "imageferry.whole"

TIMEOUT = httpx.Timeout(connect=20.0, read=60.0, write=60.0, pool=None)


class _NoCookies(httpx.Cookies):
    """A jar that stays empty: registries need no cookies, and looking for them costs a tenth of a HEAD."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Take none."""


class _Client(httpx.AsyncClient):
    """A client that neither takes nor sends cookies."""

    _no_cookies = _NoCookies()

    @property  # type: ignore[misc] # nobody sets it
    def cookies(self) -> httpx.Cookies:
        """Give the empty jar."""
        return self._no_cookies


class StreamingTransport(AiohttpTransport):
    """aiohttp as httpx's transport, with buffers for blobs and nothing done to bodies or cookies on the way."""

    def __init__(self, context: ssl.SSLContext, registry: str, proxy: httpx.Proxy | None = None) -> None:
        super().__init__(verify=context, proxy=proxy, trust_env=False, client=self._session)
        self._registry = registry

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self.ssl_context,
                limit=0,
                keepalive_timeout=30,
                resolver=GuardedResolver(self._registry, self.proxy.url.host if self.proxy else ""),
            ),
            response_class=_Response,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=READ_SIZE,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the body of the answer is read as ``READ_SIZE`` pieces."""
        try:
            response = await super().handle_async_request(request)
        except aiohttp.ClientResponseError as error:
            # What aiohttp could not read as HTTP; httpx-aiohttp lets it through.
            what = error.message.partition("\n")[0].rstrip(":")[:100]
            raise httpx.RemoteProtocolError(f"what came is no HTTP ({what})") from error
        except ValueError as error:
            # An address that aiohttp cannot send to, such as one with a password where Authorization is sent.
            raise httpx.UnsupportedProtocol(str(error)) from error
        if isinstance(response.stream, AiohttpResponseStream):
            response.stream.CHUNK_SIZE = READ_SIZE
        return response


class _Response(aiohttp.ClientResponse):
    """An answer whose reason phrase, which may be in any encoding, is text."""

    async def start(self, connection: Connection) -> _Response:
        """Read the status line and the headers."""
        await super().start(connection)
        self.reason = (self.reason or "").encode(errors="replace").decode()
        return self


class RetryTransport(httpx.AsyncBaseTransport):
    """Sends through the gate, which bounds the exchanges under way, and tries again those that can be sent twice.

    A request with a streamed body is outside the bound, and sent once as soon as a byte of it has been taken: its blob
    is retried as a whole.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, gate: RequestLimiter) -> None:
        self._inner = inner
        self._gate = gate

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send; on a broken connection, 408, 429 or 5xx wait (``Retry-After`` where given) and send again."""
        if request.extensions.get(NO_RETRY):
            return await self._gate.through(request, self._exchange)
        body = None if is_replayable(request) else PacedUploadBody(request.stream, self._gate.throttle.upload)
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
        return await self._again(request, first, _RETRY if body is None else retry_if_exception(body.may_go_again))

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
            stop=stop_after_attempt(ATTEMPTS),
            wait=_pause,
            retry=retry,
            before_sleep=_log_pause,
            retry_error_callback=_last_outcome,
        )
        response: httpx.Response = await retrying(send, request)
        return response

    async def _once(self, request: httpx.Request) -> httpx.Response:
        if not is_replayable(request):
            return await self._gate.through(request, self._exchange, bounded=False)
        for pace in self._gate.throttle.upload:
            if size := int(request.headers.get("content-length", 0)):
                await pace.acquire(size)
        return await self._gate.through(request, self._exchange)

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        limit: int | None = request.extensions.get(BODY_LIMIT)
        if limit is not None:
            return await read_bounded(response, limit)
        response = await _read_unless_content(response)
        self._gate.throttle.slow_down(response)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class PacedUploadBody(httpx.AsyncByteStream):
    """A request's body that is sent as it comes, in the time that each piece may take."""

    def __init__(self, stream: Any, paces: tuple[RateLimiter, ...]) -> None:
        self._stream, self._paces = stream, paces
        self._begun = False

    def may_go_again(self, error: BaseException) -> bool:
        """Whether another try may succeed: nothing has been taken of the body yet."""
        return not self._begun and _may_reconnect(error)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._begun = True
        async for piece in self._stream:
            for pace in self._paces:
                await pace.acquire(len(piece))
            yield piece


async def _read_unless_content(response: httpx.Response) -> httpx.Response:
    """Read what is no content, and what httpx would read to its end: a refusal, a redirect, a challenge.

    Its connection is free then for the next try.
    """
    return response if response.is_success else await read_bounded(response, ERROR_BODY_LIMIT)


async def read_bounded(response: httpx.Response, limit: int) -> httpx.Response:
    """Give the answer with its body in memory, cut where it is longer than ``limit`` bytes, and let its stream go."""
    if response.is_closed:
        return response
    body = bytearray()
    try:
        async for piece in response.stream:  # type: ignore[union-attr]
            body += piece
            if len(body) > limit:
                break
    finally:
        await response.aclose()
    headers = response.headers.copy()
    content = _decompress(bytes(body), headers.pop("content-encoding", ""), limit)
    whole = httpx.Response(response.status_code, headers=headers, content=content, extensions=response.extensions)
    with contextlib.suppress(RuntimeError):
        # An answer that has not passed the client yet knows no request.
        whole.request = response.request
    return whole


def _decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo gzip, which some servers send unasked, up to the limit: a small answer must not grow to fill the memory."""
    if encoding.strip().lower() not in ("gzip", "x-gzip"):
        return body
    try:
        return zlib.decompressobj(wbits=31).decompress(body, limit + 1)
    except zlib.error:
        return body


def is_replayable(request: httpx.Request) -> bool:
    """Whether the request's body is in memory, so that it can be sent a second time."""
    return isinstance(request.stream, httpx.ByteStream)


def _may_reconnect(error: BaseException) -> bool:
    # Another try does not make a certificate good, nor TLS of plain HTTP, nor an address of what is none.
    if isinstance(error, httpx.UnsupportedProtocol):
        return False
    return isinstance(error, httpx.TransportError) and not any(isinstance(c, ssl.SSLError) for c in causes(error))


def _is_transient(response: httpx.Response) -> bool:
    # Quay and Nexus answer 500 NAME_UNKNOWN for a repository that does not exist yet: final.
    return response.status_code in TRANSIENT_STATUSES and b"NAME_UNKNOWN" not in response.content


_RETRY = retry_if_exception(_may_reconnect) | retry_if_result(_is_transient)


def _last_outcome(state: RetryCallState) -> Any:
    assert state.outcome is not None
    return state.outcome.result()


def _pause(state: RetryCallState) -> float:
    """Seconds to wait: what the registry asks for, else exponential with full jitter, so that tasks spread out."""
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
    # Where it was redirected to, a registry has said.
    logger.info(
        "%s %s%s: %s; again in %.1f s",
        request.method,
        request.url.raw_host.decode(),
        escape_control(request.url.path),
        escape_control(why),
        state.next_action.sleep,
    )


def open_client(host: str, access: RegistryAccess | None, auth: httpx.Auth, gate: RequestLimiter) -> httpx.AsyncClient:
    """Make the client of one registry: its TLS context, proxy and limits, kept for the run.

    Raises ``OSError`` or ``ssl.SSLError`` for certificate files that cannot be read.
    """
    context = tls_context(access)

    def transport(proxy: str | None) -> RetryTransport:
        return RetryTransport(StreamingTransport(context, host, _proxy(proxy) if proxy else None), gate)

    own = access.proxy.get_secret_value() if access and access.proxy else None
    mounts = {} if own else {pattern: transport(proxy) for pattern, proxy in environment_proxies(host).items()}
    return _Client(
        auth=auth,
        transport=transport(own),
        mounts=mounts,
        timeout=TIMEOUT,
        trust_env=False,
        follow_redirects=True,
        max_redirects=5,
        # A compressed answer would not hash to the digest of what is stored.
        headers={"user-agent": USER_AGENT, "accept-encoding": "identity"},
    )


def _proxy(url: str) -> httpx.Proxy:
    """Give a proxy whose credentials are the header from which aiohttp makes ``Proxy-Authorization``."""
    proxy = httpx.Proxy(url)
    if proxy.auth is None:
        return proxy
    encoded = base64.b64encode(":".join(proxy.auth).encode()).decode()
    return httpx.Proxy(proxy.url, headers={"Authorization": f"Basic {encoded}"})


def tls_context(access: RegistryAccess | None) -> ssl.SSLContext:
    """Make the TLS context: the system's authorities and ``ca_file``, the client's certificate, or no check at all."""
    if access is None or not (access.ca_file or access.client_cert or access.insecure):
        return _system_context()
    if access.insecure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = ssl.create_default_context()
    if access.ca_file:
        context.load_verify_locations(access.ca_file)
    if access.client_cert:
        context.load_cert_chain(access.client_cert, access.client_key)
    return context


@functools.cache
def _system_context() -> ssl.SSLContext:
    """Give the context of those that set nothing; to read the system's authorities costs some 50 ms."""
    return ssl.create_default_context()
