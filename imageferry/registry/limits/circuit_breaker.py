"""Where requests wait while a registry lets none through: one goes ahead to see, the others by what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable


class CircuitBreaker:
    """Open, or closed ``until`` a moment of ``clock`` (seconds).

    After that moment one request is let through as a probe; the others wait until it has opened the barrier, or
    closed it again. ``given_up``: nobody waits any more. Only the probe passes, the others are refused at once.
    """

    clock: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self.closed = False
        self.given_up = False
        self.until = 0.0
        #: When it was first and last closed without having been open between.
        self.since = self.renewed = 0.0
        self._probing = False
        self._changed = asyncio.Event()

    def close(self, seconds: float, *, given_up: bool = False) -> None:
        """Let nothing through for so many seconds, or longer where that was said before."""
        now = self.clock()
        if not self.closed:
            self.since, self.until = now, 0.0
        self.closed, self.given_up, self.renewed = True, given_up, now
        self.until = max(self.until, now + seconds)
        self._changes(probing=False)

    def open(self) -> None:
        """Let all through."""
        self.closed = self.given_up = False
        self._changes(probing=False)

    def release(self) -> None:
        """End a probe that found out nothing: the next one may go."""
        self._changes(probing=False)

    @property
    def waits(self) -> bool:
        """Whether a request that comes now would not go on at once."""
        return self.closed and (self._probing or self.clock() < self.until)

    async def passed(self, refuse: Callable[[], Exception], tell: Callable[[], None], *, patient: bool = True) -> bool:
        """Wait until there is a way through; give whether it is that of the probe, who must ``release`` it.

        Raises what ``refuse`` gives where nobody waits any more, or this one is not ``patient``. ``tell`` is called
        before each wait.
        """
        while self.closed:
            if not self.waits:
                self._probing = True
                return True
            if self.given_up or not patient:
                raise refuse()
            tell()
            await self._rest(self._changed, None if self._probing else self.until - self.clock())
        return False

    @staticmethod
    async def _rest(changed: asyncio.Event, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await changed.wait()

    def _changes(self, *, probing: bool) -> None:
        self._probing = probing
        self._changed.set()
        self._changed = asyncio.Event()
