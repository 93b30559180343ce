"""What a run waits for: which registry holds it up, why and until when, for those who show it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)

#: Seconds: shorter waits are not worth a word, and one that begins again within the second span is the same.
WORTH_TELLING = 2.0
THE_SAME = 60.0


@dataclass(frozen=True, slots=True)
class Wait:
    """One registry that is waited for. ``until`` is on the wall clock, in seconds."""

    registry: str
    why: str
    until: float

    def __str__(self) -> str:
        far = self.until - time.time() > 12 * 3600
        return f"waiting for {self.registry} until {clock(self.until, with_day=far)}: {self.why}"


def clock(moment: float, *, with_day: bool = False) -> str:
    """Give a moment (seconds on the wall clock) as local time, ``20:41:07`` or ``2026-01-05 20:41:07``."""
    return time.strftime("%Y-%m-%d %H:%M:%S" if with_day else "%H:%M:%S", time.localtime(moment))


@dataclass(slots=True)
class Waits:
    """The registries that are waited for now. ``listeners`` are told of each wait that begins, not of its renewals."""

    listeners: list[Callable[[Wait], None]] = field(default_factory=list)
    _latest: dict[str, Wait] = field(default_factory=dict)

    def add(self, registry: str, seconds: float, why: str) -> None:
        """Note that requests to a registry wait, as long as it looks now."""
        now = time.time()
        before = self._latest.get(registry)
        if before is None and seconds < WORTH_TELLING:
            return
        wait = Wait(registry, why, now + seconds)
        self._latest[registry] = wait
        if before is None or before.why != why or before.until + THE_SAME < now:
            logger.info("%s", wait)
            for listener in self.listeners:
                listener(wait)

    def clear(self, registry: str) -> None:
        """Note that a registry lets requests through again."""
        self._latest.pop(registry, None)

    def now(self) -> Iterator[Wait]:
        """Give the waits that are not over."""
        moment = time.time()
        return (wait for wait in list(self._latest.values()) if wait.until > moment)
