"""The signals that end a run on the command line: the first ends it in order, the second at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from cli.exit_codes import INTERRUPTED


class SignalStop:
    """Stops the run at the first SIGINT or SIGTERM, and the process at the second.

    The signals come to the main thread; the run's event loop is in another.
    """

    def __init__(self) -> None:
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
        """Take the signals that end a run while the context is entered."""
        before = {number: signal.signal(number, self._stopped) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stopped(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            os._exit(INTERRUPTED)
        self._requested.set()
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):
                # A loop that is closed has nothing more to stop.
                self._loop.call_soon_threadsafe(self._stop.set)
