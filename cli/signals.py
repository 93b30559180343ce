"""The signals that end a run on the command line: the first ends it in order, the second at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from cli.exit_codes import INTERRUPTED

# SIGHUP comes when the terminal is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Seconds in which a second signal of the same kind is the first one again: GNU timeout signals its child and then the
# whole group, and a terminal that closes signals through its shell and by itself.
ONE_SIGNAL = 1.0


class SignalStop:
    """Stops the run at the first SIGINT, SIGTERM or SIGHUP, and the process at the second.

    The signals come to the main thread; the run's event loop is in another.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, end_process: Callable[[int], object] = os._exit
    ) -> None:
        self._clock, self._end_process = clock, end_process
        self._first: tuple[int, float] | None = None
        self._requested = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._requested.is_set()

    def event(self) -> asyncio.Event:
        """Return the event that is set when the run is to stop, for the loop that runs here."""
        stop = asyncio.Event()
        self._loop, self._stop = asyncio.get_running_loop(), stop
        if self.requested:
            stop.set()
        return stop

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take the signals that end a run while the context is entered; ``nohup`` keeps its SIGHUP ignored."""
        ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        taken = [number for number in SIGNALS if not (ignored and number == signal.SIGHUP)]
        before = {number: signal.signal(number, self._stopped) for number in taken}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stopped(self, number: int, frame: FrameType | None) -> None:
        now = self._clock()
        if self._first is not None:
            if number != self._first[0] or now - self._first[1] >= ONE_SIGNAL:
                self._end_process(INTERRUPTED)
            return
        self._first = number, now
        self._requested.set()
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):
                # A loop that is closed has nothing more to stop.
                self._loop.call_soon_threadsafe(self._stop.set)
