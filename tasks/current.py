"""The run that tasks work for. It holds credentials and connections, so it is never a parameter of a task."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

from imageferry.copy.ferry import Ferry
from imageferry.copy.plan import Work
from imageferry.copy.runner import Runner
from tasks.history import History
from tasks.watch import Watch


@dataclass
class Current:
    """The engine of this process's run, the work that was planned (by rule, then by tag), and its history.

    ``take_signals`` has a flow's own process stop the run at SIGTERM; each subflow gives the signal to Prefect again.
    ``stop`` is set when the run is to stop; ``runner`` does what Prefect's server is no longer there for.
    ``failed_in`` has the id of the task run in which an image failed, by source and destination, ``subflows`` that of
    a rule's flow run, ``seconds`` how long a rule took.
    """

    ferry: Ferry
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    watch: Watch = field(default_factory=Watch)
    work: dict[str, dict[str, Work]] = field(default_factory=dict)
    flow_run_id: str | None = None
    shows_progress: bool = False
    failures_told: int = 0
    failed_in: dict[tuple[str, str], str] = field(default_factory=dict)
    subflows: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    take_signals: Callable[[], None] = lambda: None
    runner: Runner = field(init=False)
    history: History = field(init=False)

    def __post_init__(self) -> None:
        self.runner = Runner(self.ferry)
        self.history = History(self.watch)

    @contextlib.contextmanager
    def timed(self, rule: str) -> Iterator[None]:
        """Note how long the context is entered as what a rule took; of several parts, the longest."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[rule] = max(self.seconds.get(rule, 0.0), time.monotonic() - begun)


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
