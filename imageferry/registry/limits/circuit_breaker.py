"""A circuit breaker whose callers wait behind a half-open probe instead of failing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from imageferry.report.waits import Waits


class CircuitBreaker(ABC):
    """Holds the requests to one host while it is open, which is until ``open_until`` on ``clock`` (seconds).

    After that moment it is half open: one request goes ahead as a probe, and the others wait until the probe's outcome
    resets the breaker or trips it again. While it is ``open_for_good`` nobody waits: only the probe goes ahead, the
    others are refused at once. Who waits is shown in ``waits``.
    """

    clock: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(self, registry: str, waits: Waits) -> None:
        self.registry = registry
        self.is_open = self.open_for_good = False
        self.open_until = 0.0
        # When it was tripped, first and last, since it last let everything through.
        self.opened_at = self.tripped_at = 0.0
        self._waits = waits
        self._probing = False
        self._changed = asyncio.Event()

    @property
    @abstractmethod
    def why(self) -> str:
        """Why requests wait, in words for a person."""

    @property
    @abstractmethod
    def seconds_left(self) -> float:
        """Seconds for which requests wait, as far as is known now."""

    @abstractmethod
    def refusal(self) -> Exception:
        """Return the error for a request that does not wait."""

    def trip(self, seconds: float, *, for_good: bool = False) -> None:
        """Open for so many seconds, or longer if that was said before."""
        now = self.clock()
        if not self.is_open:
            self.opened_at, self.open_until = now, 0.0
        self.is_open, self.open_for_good, self.tripped_at = True, for_good, now
        self.open_until = max(self.open_until, now + seconds)
        self._wake()

    def reset(self) -> None:
        """Let everything through."""
        self.is_open = self.open_for_good = self._probing = False
        self._wake()

    def release_probe(self) -> None:
        """End a probe, whatever it found out: if the breaker is still half open, the next may go ahead."""
        self._probing = False
        self._wake()

    async def wait_while_open(self, *, patient: bool = True, fresh: Callable[[], bool] = lambda: False) -> bool:
        """Wait until the request may go; return whether it is the probe, which must call ``release_probe``.

        One that is ``fresh``, asked each time, is a probe as soon as there is no other. Raises ``refusal()`` if the
        breaker is open for good, or the request is not ``patient``.
        """
        while self.is_open:
            rest = self.open_until - self.clock()
            if not self._probing and (rest <= 0 or fresh()):
                self._probing = True
                return True
            if not patient or (self.open_for_good and not fresh()):
                raise self.refusal()
            self._waits.add(self.registry, self.seconds_left, self.why)
            await self._rest(self._changed, None if self._probing else rest)
        return False

    @staticmethod
    async def _rest(changed: asyncio.Event, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
