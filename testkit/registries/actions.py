"""What a rule can do to a request."""

import asyncio
import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import urlencode

from testkit.registries.exchange import Call, Cut, Ending, Hangup, Reply, error
from testkit.registries.fault_rules import Action, Proceed

Change = Callable[[Reply], None]


def respond(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> Action:
    """Answer this, and do nothing."""

    async def act(call: Call, proceed: Proceed) -> Reply:
        return Reply(status, dict(headers or {}), body)

    return act


def refuse(status: int, code: str, message: str = "", headers: dict[str, str] | None = None) -> Action:
    """Answer an error with the body that the specification gives it."""

    async def act(call: Call, proceed: Proceed) -> Reply:
        return error(status, code, message, headers)

    return act


def too_many(seconds: int | None = None, *, as_date: bool = False, status: int = 429) -> Action:
    """Answer 429 (or 503), with Retry-After in seconds, as a date, or without it."""
    headers = {}
    if seconds is not None and not as_date:
        headers["Retry-After"] = str(seconds)
    if seconds is not None and as_date:
        headers["Retry-After"] = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    return refuse(status, "TOOMANYREQUESTS", "too many requests", headers)


def html(status: int = 200) -> Action:
    """Answer a page for people, as a proxy or a sign-in portal does."""
    page = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Welcome</body></html>"
    return respond(status, page, {"Content-Type": "text/html; charset=utf-8"})


def delay(seconds: float) -> Action:
    """Wait, then go on."""

    async def act(call: Call, proceed: Proceed) -> Reply:
        await asyncio.sleep(seconds)
        return await proceed(call)

    return act


def hang_up(ending: Ending = "close", *, done: bool = False) -> Action:
    """End the connection instead of an answer; with `done` after the request was carried out."""

    async def act(call: Call, proceed: Proceed) -> Reply:
        if done:
            await proceed(call)
        raise Hangup(ending)

    return act


def hang_up_reading(after: int, ending: Ending = "reset") -> Action:
    """End the connection when so many bytes of the request's body have come."""

    async def act(call: Call, proceed: Proceed) -> Reply:
        call.hang_up_after, call.hang_up_ending = after, ending
        return await proceed(call)

    return act


def read_slowly(pause: Callable[[], float]) -> Action:
    """Take the request's body slowly: so many seconds before each of its pieces."""

    async def act(call: Call, proceed: Proceed) -> Reply:
        call.pause = pause
        return await proceed(call)

    return act


def truncate(after: int) -> Action:
    """Stop the body early with an ordinary end of the connection; Content-Length says more."""
    return _cut(Cut(after, "close"))


def reset_after(after: int) -> Action:
    """Reset the connection when so many bytes of the body are sent."""
    return _cut(Cut(after, "reset"))


def stall_after(after: int, seconds: float = 3600.0) -> Action:
    """Send nothing more after so many bytes of the body; the connection stays open that long."""
    return _cut(Cut(after, "stall", seconds))


def then_close() -> Action:
    """Answer in full, then close the connection without saying so."""
    return change(lambda reply: setattr(reply, "cut", Cut(len(reply.body), "close")))


def slowly(bytes_per_second: float) -> Action:
    """Send the body at that rate."""
    return change(lambda reply: setattr(reply, "bytes_per_second", bytes_per_second))


def corrupt(offset: int = 0, length: int = 1) -> Action:
    """Turn bytes of the body over; its length and headers stay."""

    def turn(reply: Reply) -> None:
        body = bytearray(reply.body)
        for position in range(offset, min(offset + length, len(body))):
            body[position] ^= 0xFF
        reply.body = bytes(body)

    return change(turn)


def replace_body(body: bytes, headers: dict[str, str] | None = None) -> Action:
    """Send another body with the same status; headers as they were unless given."""

    def replace(reply: Reply) -> None:
        reply.body = body
        reply.drop("Content-Length")
        for name, value in (headers or {}).items():
            reply.set(name, value)

    return change(replace)


def gzipped(*, chunked: bool = False, relabelled: bool = False) -> Action:
    """Compress the body as a proxy does, whatever was accepted; with `relabelled` only say that it is.

    With `chunked` its length is not said.
    """

    def encode(reply: Reply) -> None:
        if reply.status == 200:
            reply.body = reply.body if relabelled else gzip.compress(reply.body, 1)
            reply.drop("Content-Length")
            reply.set("Content-Encoding", "gzip")
            if chunked:
                reply.set("Transfer-Encoding", "chunked")

    return change(encode)


def with_header(name: str, value: str) -> Action:
    """Put a header into the answer, in place of any of that name."""
    return change(lambda reply: reply.set(name, value))


def without_header(name: str) -> Action:
    """Take a header from the answer."""
    return change(lambda reply: reply.drop(name))


def without_digest() -> Action:
    """Take Docker-Content-Digest from the answer."""
    return without_header("Docker-Content-Digest")


def wrong_digest(digest: str = "sha256:" + "0" * 64) -> Action:
    """Send a Docker-Content-Digest that is not that of the bytes."""
    return with_header("Docker-Content-Digest", digest)


def redirect(target: str | Callable[[Call], str], status: int = 307) -> Action:
    """Send the client to another host (the same path and query there), or to a URL made from the request."""

    async def act(call: Call, proceed: Proceed) -> Reply:
        if callable(target):
            return Reply(status, {"Location": target(call)})
        query = urlencode({**call.entry.query, "X-Signature": ["0"]}, doseq=True)
        return Reply(status, {"Location": f"{target}{call.path}?{query}"})

    return act


def run_first(step: Callable[[], object]) -> Action:
    """Do something when the request comes (say, revoke all tokens), then go on."""

    async def act(call: Call, proceed: Proceed) -> Reply:
        step()
        return await proceed(call)

    return act


def change(step: Change) -> Action:
    """Carry the request out and change its answer."""

    async def act(call: Call, proceed: Proceed) -> Reply:
        reply = await proceed(call)
        step(reply)
        return reply

    return act


def _cut(cut: Cut) -> Action:
    return change(lambda reply: setattr(reply, "cut", cut))
