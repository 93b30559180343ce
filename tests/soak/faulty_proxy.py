"""A host that stands before a real registry: it hands on what comes, and misbehaves as the in-process one does."""

import httpx

from testkit.registries.auth import Auth
from testkit.registries.exchange import Call, Hangup, Reply, error
from testkit.registries.server import Host

# Headers that belong to one connection (RFC 9110, 7.6.1), and the credentials that end here.
_OF_THE_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "authorization"})

# Seconds in which the registry behind it must take or give a piece: far more than any does.
_LIMIT = 120.0


class FaultyProxy(Host):
    """Hands requests on to the registry at ``target`` (``address:port``); with ``auth`` asks for tokens itself.

    A request's body goes on as it comes, so that a broken upload is one for the registry too.
    """

    def __init__(self, target: str, auth: Auth | None = None) -> None:
        super().__init__()
        self.target = target
        self.auth = auth
        # A connection each: one that the registry has closed meanwhile would be a fault that nobody asked for.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._far = httpx.AsyncHTTPTransport(limits=limits)

    async def answer(self, call: Call) -> Reply:
        """Answer what the registry answers."""
        if call.kind == "token":
            return error(404, "UNSUPPORTED") if self.auth is None else await self.auth.token(call)
        refusal = None if self.auth is None else self.auth.check(call, self.url)
        return refusal or await self._handed_on(call)

    async def _handed_on(self, call: Call) -> Reply:
        request = call.request
        query = f"?{request.url.query}" if request.url.query else ""
        # The Host header stays that of this host, so that the registry's Locations lead here.
        headers = [(name, value) for name, value in request.headers.items() if name not in _OF_THE_CONNECTION]
        has_body = call.header("content-length") not in (None, "0") or call.header("transfer-encoding") is not None
        onward = httpx.Request(
            call.method,
            f"http://{self.target}{call.path}{query}",
            headers=headers,
            content=call.chunks() if has_body else b"",
            extensions={"timeout": httpx.Timeout(_LIMIT, pool=None).as_dict()},
        )
        try:
            answer = await self._far.handle_async_request(onward)
            try:
                body = await answer.aread()
            finally:
                await answer.aclose()
        except httpx.TransportError:
            raise Hangup("close") from None
        kept = {name.title(): value for name, value in answer.headers.items() if name not in _OF_THE_CONNECTION}
        return Reply(answer.status_code, kept, body)
