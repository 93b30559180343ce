"""The run that tasks work for. It holds credentials and connections, so it is never a parameter of a task."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field

from imageferry.copy.ferry import Ferry
from imageferry.copy.plan import Work
from tasks.history import History


@dataclass
class Current:
    """The engine of this process's run, the work that was planned (by rule, then by tag), and its history."""

    ferry: Ferry
    history: History = field(default_factory=History)
    work: dict[str, dict[str, Work]] = field(default_factory=dict)
    #: Set when the run is to stop: by a signal at the command line.
    stop: asyncio.Event = field(default_factory=asyncio.Event)


_current: ContextVar[Current] = ContextVar("imageferry_run")


def set_current(run: Current) -> None:
    """Make this the run of all that is awaited from here."""
    _current.set(run)


def find_current() -> Current | None:
    """Give the run, or None in a process that has not begun one."""
    return _current.get(None)


def current() -> Current:
    """Give the run. Raises ``LookupError`` outside one."""
    return _current.get()
