"""SIGTERM in a flow's own process, as a worker sends it to cancel a flow run: Prefect's own way drops all at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

# The runs of this process that SIGTERM stops. The handler is the process's, so all runs share it.
_stops: list[asyncio.Event] = []
_before: list[Any] = []


@contextlib.contextmanager
def stopped_by_sigterm(stop: asyncio.Event) -> Iterator[bool]:
    """Set ``stop`` at SIGTERM while the context is entered; yield False outside the main thread, where none comes."""
    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    if not _stops:
        _before.append(signal.getsignal(signal.SIGTERM))
    _stops.append(stop)
    install_handler()
    try:
        yield True
    finally:
        _stops.remove(stop)
        if not _stops:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, _before.pop())


def install_handler() -> None:
    """Take SIGTERM, also again: each flow that ends gives it to whoever had it before."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _stop_all)


def _stop_all() -> None:
    for stop in _stops:
        stop.set()
