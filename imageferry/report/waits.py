"""The registries for which a run is waiting, why and until when, for those who show it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)

# Seconds: a shorter wait is not reported.
SHORTEST_REPORTED = 2.0
# Seconds: a wait that begins again so soon after the last is the same one.
RENEWAL_LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class Wait:
    """A registry for which a run is waiting. ``until`` is Unix time, in seconds."""

    registry: str
    reason: str
    until: float

    def __str__(self) -> str:
        another_day = self.until - time.time() > 12 * 3600
        return f"waiting for {self.registry} until {clock(self.until, with_day=another_day)}: {self.reason}"


def clock(moment: float, *, with_day: bool = False) -> str:
    """Return a moment (Unix time, in seconds) as local time: ``20:41:07`` or ``2026-01-05 20:41:07``."""
    return time.strftime("%Y-%m-%d %H:%M:%S" if with_day else "%H:%M:%S", time.localtime(moment))


@dataclass(slots=True)
class Waits:
    """The current waits by registry. ``listeners`` are called with each wait that begins, not with its renewals."""

    listeners: list[Callable[[Wait], None]] = field(default_factory=list)
    _latest: dict[str, Wait] = field(default_factory=dict)

    def add(self, registry: str, seconds: float, reason: str) -> None:
        """Record that requests to a registry wait, for ``seconds`` as far as is known now."""
        now = time.time()
        before = self._latest.get(registry)
        if before is None and seconds < SHORTEST_REPORTED:
            return
        wait = Wait(registry, reason, now + seconds)
        self._latest[registry] = wait
        if before is None or before.reason != reason or before.until + RENEWAL_LIMIT < now:
            logger.info("%s", wait)
            for listener in self.listeners:
                listener(wait)

    def clear(self, registry: str) -> None:
        """Record that a registry takes requests again."""
        self._latest.pop(registry, None)

    def now(self) -> Iterator[Wait]:
        """Return the waits that are not over."""
        moment = time.time()
        return (wait for wait in list(self._latest.values()) if wait.until > moment)
