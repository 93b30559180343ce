"""The run that tasks belong to. It holds credentials and connections, so it is never a parameter of a task."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

from imageferry.copy.blob_move import BlobMove
from imageferry.copy.engine import Engine
from imageferry.copy.job import CopyJob
from imageferry.copy.runner import LocalRunner
from imageferry.model import Rule
from orchestration.server.monitor import ServerMonitor
from orchestration.server.recorder import TaskRunRecorder


@dataclass
class RunContext:
    """One run as its tasks see it: the engine, the jobs that were planned, and what Prefect records of it.

    It is entered for the time of the run and offered to the subflows: see ``run_context`` and ``take_offered_run``.
    """

    engine: Engine
    # Set when the run is to stop.
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    monitor: ServerMonitor = field(default_factory=ServerMonitor)
    # The jobs of each rule that has work, by tag (digest where there is no tag).
    work: dict[str, dict[str, CopyJob]] = field(default_factory=dict)
    # The blobs that are being moved in task runs, by digest.
    moves: dict[str, BlobMove] = field(default_factory=dict)
    flow_run_id: str | None = None
    shows_progress: bool = False
    # What the keys of its artifacts have in common; empty until it is asked for.
    artifacts_of: str = ""
    failures_logged: int = 0
    notes_logged: int = 0
    choices_logged: int = 0
    # The id of the task run in which an image failed, by source and destination.
    failed_in: dict[tuple[str, str], str] = field(default_factory=dict)
    # The flow run of a rule, and how many seconds the rule took.
    subflows: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    # Each subflow gives SIGTERM back to Prefect; in a flow's own process this takes it again.
    reinstall_signal_handler: Callable[[], None] = lambda: None
    # Does what Prefect's server is no longer there for.
    runner: LocalRunner = field(init=False)
    recorder: TaskRunRecorder = field(init=False)

    def __post_init__(self) -> None:
        self.runner = LocalRunner(self.engine)
        self.recorder = TaskRunRecorder(self.monitor)

    async def planned(self, rules: Iterable[str]) -> AsyncIterator[tuple[Rule, list[CopyJob]]]:
        """Plan rules by name; yield each with its jobs, which are in ``work`` by then. Ends when the run is stopped."""
        known = {rule.name: rule for rule in self.engine.configuration.rules}
        async for rule, jobs in self.engine.as_planned([known[name] for name in rules], self.stop):
            if jobs:
                self.work.setdefault(rule.name, {job.tag_or_digest: job for job in jobs})
            yield rule, jobs

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Make this the run of all tasks that are awaited within the context; its subflows enter it side by side."""
        token = _entered.set(self)
        try:
            yield
        finally:
            _entered.reset(token)

    @contextlib.contextmanager
    def offered(self) -> Iterator[None]:
        """Offer the run to the flow that is called within the context, and to no other."""
        token = _offered.set(self)
        try:
            yield
        finally:
            _offered.reset(token)

    @contextlib.contextmanager
    def timed(self, rule: str) -> Iterator[None]:
        """Record how long a rule took, in seconds; of several batches, the longest."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[rule] = max(self.seconds.get(rule, 0.0), time.monotonic() - begun)


_entered: ContextVar[RunContext] = ContextVar("imageferry_run")
_offered: ContextVar[RunContext | None] = ContextVar("imageferry_offered_run", default=None)


def run_context() -> RunContext:
    """Return the run that a task belongs to. Raises ``LookupError`` outside one."""
    return _entered.get()


def take_offered_run() -> RunContext | None:
    """Return the run that the caller of this flow offers it, once; None where the flow is to open one of its own."""
    run = _offered.get()
    _offered.set(None)
    return run
