"""Prefect servers that are killed, stopped or locked while a run is under way."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from testkit.registries.exchange import Call, Reply
from testkit.registries.fault_rules import Action, Proceed
from testkit.registries.inprocess import FakeRegistry

# Seconds for something that another process does.
LIMIT = 120


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.02)


class Gate:
    """Holds requests at a registry until it is opened, and says when the first one has come."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def action(self) -> Action:
        """What a rule does with it."""

        async def act(call: Call, proceed: Proceed) -> Reply:
            self.reached.set()
            while not self.opened.is_set():
                await asyncio.sleep(0.02)
            return await proceed(call)

        return act


def own_server(process: "subprocess.Popen[str]") -> int:
    """Return the pid of the Prefect server that a run has started for itself."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (server,) = [
        int(child)
        for child in children
        if b"orchestration.server.own_server" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    return server


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process: it takes connections and never answers; go on with it at the end."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the lock of a Prefect home's database: nothing can be written meanwhile."""
    connection = sqlite3.connect(home / "prefect.db", isolation_level=None, timeout=LIMIT)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def fill(registry: FakeRegistry, rules: int, tags: int) -> None:
    """Return a registry so many repositories of so many tags."""
    for rule in range(rules):
        for tag in range(tags):
            registry.image(f"demo/app{rule}", f"v{tag}", [b"shared", f"own {rule} {tag}".encode()])
