"""The run that tasks work for. It holds credentials and connections, so it is never a parameter of a task."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

from imageferry.copy.blob_move import BlobMove
from imageferry.copy.engine import Engine
from imageferry.copy.job import CopyJob
from imageferry.copy.runner import LocalRunner
from orchestration.server.monitor import ServerMonitor
from orchestration.server.recorder import TaskRunRecorder


@dataclass
class RunContext:
    """The engine of this process's run, the work that was planned (by rule, then by tag), and its history.

    ``reinstall_signal_handler`` has a flow's own process stop the run at SIGTERM; each subflow
    gives the signal to Prefect again.
    ``stop`` is set when the run is to stop; ``runner`` does what Prefect's server is no longer there for.
    ``failed_in`` has the id of the task run in which an image failed, by source and destination, ``subflows`` that of
    a rule's flow run, ``seconds`` how long a rule took. ``moves`` has the blobs that are being moved, by digest.
    """

    engine: Engine
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    monitor: ServerMonitor = field(default_factory=ServerMonitor)
    work: dict[str, dict[str, CopyJob]] = field(default_factory=dict)
    moves: dict[str, BlobMove] = field(default_factory=dict)
    flow_run_id: str | None = None
    shows_progress: bool = False
    failures_logged: int = 0
    failed_in: dict[tuple[str, str], str] = field(default_factory=dict)
    subflows: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    reinstall_signal_handler: Callable[[], None] = lambda: None
    runner: LocalRunner = field(init=False)
    recorder: TaskRunRecorder = field(init=False)

    def __post_init__(self) -> None:
        self.runner = LocalRunner(self.engine)
        self.recorder = TaskRunRecorder(self.monitor)

    @contextlib.contextmanager
    def timed(self, rule: str) -> Iterator[None]:
        """Note how long the context is entered as what a rule took; of several parts, the longest."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[rule] = max(self.seconds.get(rule, 0.0), time.monotonic() - begun)


_current: ContextVar[RunContext] = ContextVar("imageferry_run")


def set_current(run: RunContext) -> None:
    """Make this the run of all that is awaited from here."""
    _current.set(run)


def find_current() -> RunContext | None:
    """Give the run, or None in a process that has not begun one."""
    return _current.get(None)


def run_context() -> RunContext:
    """Give the run. Raises ``LookupError`` outside one."""
    return _current.get()
