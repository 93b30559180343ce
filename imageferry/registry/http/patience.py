"""How long an answer may take: the whole of a short one, and each minute of a blob."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx

from imageferry.registry.transport_errors import SlowAnswer

# Seconds in which the head of an answer must have come, and after it the whole body of a short one.
ANSWER_PATIENCE = 60.0

# Seconds that are waited for a blob's bytes until their rate is judged, and the least bytes a second.
RATE_WINDOW = 60.0
LEAST_RATE = 1024.0


class AnswerDeadline:
    """The deadline of one answer, as a context: ``SlowAnswer`` is raised in it when it has passed.

    ``extend`` gives the next part of the answer its own time. A body that is sent, of ``size`` bytes, may take as long
    as it does at ``LEAST_RATE``; None: the deadline begins with ``extend``, when a streamed body has been sent.
    """

    def __init__(self, size: int | None) -> None:
        self._seconds = None if size is None else ANSWER_PATIENCE + size / LEAST_RATE
        self._timeout = asyncio.timeout(self._seconds)
        self._entered = False

    async def __aenter__(self) -> AnswerDeadline:
        await self._timeout.__aenter__()
        self._entered = True
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._entered = False
        try:
            await self._timeout.__aexit__(kind, error, trace)  # type: ignore[arg-type]
        except TimeoutError:
            raise SlowAnswer(f"no whole answer in {self._seconds or ANSWER_PATIENCE:.0f} seconds") from None

    def extend(self) -> None:
        """Begin anew; without effect once the answer has come, or has not come in time."""
        if self._entered and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time() + ANSWER_PATIENCE)


class LeastRateBody(httpx.AsyncByteStream):
    """The body of a blob. ``SlowAnswer`` is raised if its bytes come more slowly than ``LEAST_RATE``.

    Only the time for which they are waited for counts, so neither a bandwidth nor a slow destination is held against
    the source.
    """

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        waited = came = 0.0
        asked_at = time.monotonic()
        async for piece in self._stream:
            waited += time.monotonic() - asked_at
            came += len(piece)
            if waited >= RATE_WINDOW:
                if came < LEAST_RATE * waited:
                    raise SlowAnswer(f"only {came:,.0f} bytes came in {waited:.0f} seconds")
                waited = came = 0.0
            yield piece
            asked_at = time.monotonic()

    async def aclose(self) -> None:
        """Close the body."""
        await self._stream.aclose()
