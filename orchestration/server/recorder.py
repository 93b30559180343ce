"""Whether Prefect's server keeps up with the task runs of a run, and has them all at its end.

Task runs reach the server as events, some time after they have ended. Past about 3,300 of them behind (10,000 messages
in its queue) a server drops what comes, and one that stops early never writes the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.events.clients import get_events_client
from prefect.runtime import flow_run

from imageferry.text import describe_exception, format_count
from orchestration.server.internals import drain_queues
from orchestration.server.monitor import ServerLost, ServerMonitor
from orchestration.settings import settings

logger = logging.getLogger("imageferry.history")

# How far the server may be behind, in task runs, and how often that is asked.
FURTHEST_BEHIND = 2000
ASK_EVERY = 500

# Seconds in which nothing more is written, after which it is asked whether task runs reach the server at all; and those
# in which it must take the question.
STANDSTILL = 3.0
EVENTS_LIMIT = 5.0

_TERMINAL = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
_IDS_AT_ONCE = 100


class TaskRunRecorder:
    """Counts the task runs that this process has awaited, and asks the server for those that it has written.

    ``without`` counts what was done with no task run or subflow of its own, because Prefect could not begin one.
    """

    def __init__(self, monitor: ServerMonitor) -> None:
        self.untracked = 0
        self._monitor = monitor
        self._recorded = 0
        self._awaited: Counter[UUID] = Counter()
        self._since_asked = 0
        self._lock = asyncio.Lock()

    @property
    def awaited(self) -> int:
        """How many task runs have been awaited."""
        return self._awaited.total()

    async def task_started(self) -> None:
        """Note a task run that begins in the flow run of this context; wait first while the server is far behind."""
        self._awaited[UUID(flow_run.id)] += 1
        self._since_asked += 1
        if self._since_asked >= ASK_EVERY and not self._monitor.lost:
            async with self._lock:
                if self._since_asked >= ASK_EVERY:
                    await self._let_catch_up()

    def task_untracked(self) -> None:
        """Note that the task run which was to begin in this context did not, and that its work is done without."""
        self._awaited[UUID(flow_run.id)] -= 1
        self.untracked += 1

    @property
    def missing(self) -> str:
        """Say in words what the server has not recorded as far as is known; empty where it has all."""
        unwritten = max(0, self.awaited - self._recorded)
        parts = [f"{self._recorded:,} of {format_count(self.awaited, 'task run')} are recorded"] if unwritten else []
        if self.untracked:
            parts.append(f"{format_count(self.untracked, 'more step', 'more steps')} had none")
        return ", ".join(parts)

    async def _let_catch_up(self) -> None:
        begun = time.monotonic()
        while (recorded := await self.recorded()) is not None:
            if self.awaited - recorded < FURTHEST_BEHIND or time.monotonic() - begun > settings().history_patience:
                break
            await asyncio.sleep(0.5)
        self._since_asked = 0

    async def recorded(self) -> int | None:
        """Return how many of them the server has in a terminal state; None when it does not answer."""
        ids = [str(identity) for identity in self._awaited]
        total = 0
        if self._monitor.lost:
            return None
        try:
            async with get_client() as client:
                for start in range(0, len(ids), _IDS_AT_ONCE):
                    wanted = {
                        "flow_runs": {"id": {"any_": ids[start : start + _IDS_AT_ONCE]}},
                        "task_runs": {"state": {"type": {"any_": _TERMINAL}}},
                    }
                    asking = client.request("POST", "/task_runs/count", json=wanted)
                    answer = await self._monitor.wait(asking)
                    total += int(answer.json())
        except ServerLost:
            return None
        except (httpx.HTTPError, ValueError, RuntimeError) as error:
            logger.info("Prefect's server does not say what it has recorded: %s", error)
            return None
        self._recorded = max(self._recorded, total)
        return total

    async def wait_until_recorded(self, on_wait: Callable[[int, int], None] = lambda recorded, awaited: None) -> None:
        """Wait until the server has written every task run.

        ``on_wait`` is called with how many are recorded, and of how many. Ends early when nothing more is written for
        the patience of the settings, or the server is lost.
        """
        best, progress_at, asked = -1, time.monotonic(), False
        while best < self.awaited:
            recorded = await self.recorded()
            if recorded is None:
                break
            if recorded > best:
                best, progress_at = recorded, time.monotonic()
            elif time.monotonic() - progress_at > settings().history_patience:
                break
            elif not asked and time.monotonic() - progress_at > STANDSTILL:
                asked = True
                if why := await _find_events_problem():
                    self._monitor.mark_lost(why)
                    break
            on_wait(min(best, self.awaited), self.awaited)
            if best < self.awaited:
                await asyncio.sleep(0.2)


async def _find_events_problem() -> str:
    """Say why the server gets no events, over which task runs are sent; empty where it does."""
    try:
        async with asyncio.timeout(EVENTS_LIMIT), get_events_client(reconnection_attempts=0):
            return ""
    except Exception as error:
        reason = describe_exception(error)
    return (
        f"task runs reach it over a websocket, and it gets none ({reason}): "
        "a proxy on the way to PREFECT_API_URL must let it through"
    )


async def drain(monitor: ServerMonitor) -> None:
    """Send the logs and events that wait in this process, while there still is a server to take them."""
    with contextlib.suppress(ServerLost):
        await monitor.wait(drain_queues(settings().history_patience))
