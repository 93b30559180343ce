"""What a host has answered before: asked for again, it tells a host that is down from objects that always fail."""

from __future__ import annotations

import httpx

# Headers about the part or the body of the request that was answered.
_NOT_SENT = ("range", "content-length", "content-type", "transfer-encoding")

_PING = "/v2/"


class Witnesses:
    """For each host the last request for content that it answered."""

    def __init__(self) -> None:
        self._answered: dict[bytes, httpx.Request] = {}

    def note(self, request: httpx.Request, response: httpx.Response) -> None:
        """Keep a request that was answered. A login page or the ping says nothing of the registry behind it."""
        if request.method not in ("GET", "HEAD") or response.status_code not in (200, 206, 404):
            return
        if request.url.path != _PING:
            self._answered[request.url.netloc] = request

    def question(self, request: httpx.Request, *, ping: bool) -> httpx.Request | None:
        """Return a request to which the host of ``request`` has an answer, if it is there; None if none is known.

        With ``ping``, one that has answered nothing yet is asked whether it is a registry.
        """
        answered = self._answered.get(request.url.netloc)
        if answered is not None:
            headers = [(name, value) for name, value in answered.headers.raw if name.decode().lower() not in _NOT_SENT]
            return httpx.Request("HEAD", answered.url, headers=headers, extensions=dict(answered.extensions))
        if not ping:
            return None
        timeout = request.extensions.get("timeout")
        return httpx.Request(
            "GET", request.url.copy_with(raw_path=_PING.encode()), extensions={"timeout": timeout} if timeout else {}
        )
