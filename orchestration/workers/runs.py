"""The runs that a run has on the workers of a work pool: started, supervised, and cancelled with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.deployments import arun_deployment
from prefect.events.filters import EventAnyResourceFilter, EventFilter
from prefect.states import Cancelled, Cancelling, Crashed

from imageferry.copy.errors import Interrupted
from imageferry.text import describe_exception, format_count, format_duration
from orchestration.run_context import RunContext
from orchestration.server.monitor import ServerLost

logger = logging.getLogger("imageferry.workers")

# The deployment whose runs these are.
DEPLOYMENT = "sync-rule/worker"

# Seconds between two checks, and between those of runs that are to end.
CHECK_EVERY = 2.0
CHECK_WHEN_CANCELLED = 0.5

# Seconds between two signs of life of a run: the least that Prefect allows.
HEARTBEAT = 30

# Seconds in which cancelled runs may still publish what they have done: the report has to follow.
PUBLISH_LIMIT = 3.0

# A run that a worker has taken gives no sign of life before its process or container runs: pulling an image is slow.
PENDING_PATIENCE = 5

# Seconds for which runs may wait for a worker until it is logged, and after which it is logged again.
LOG_WAIT_AFTER = 30.0
LOG_WAIT_AGAIN = 300.0


@dataclass
class _WorkerRun:
    """A run on a worker, and when there was news of it."""

    run: FlowRun
    started: float = field(default_factory=time.monotonic)
    last_news: float = field(default_factory=time.monotonic)
    last_asked: float = field(default_factory=time.monotonic)
    event: UUID | None = None
    cancelled: bool = False
    ended: asyncio.Future[FlowRun] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def state_type(self) -> StateType:
        return self.run.state.type if self.run.state else StateType.SCHEDULED

    @property
    def is_waiting(self) -> bool:
        return self.state_type in (StateType.SCHEDULED, StateType.PENDING)

    def end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(self.run)


class WorkerRuns:
    """Starts runs of ``sync-rule/worker`` and awaits them.

    A run that gives no sign of life for ``silence`` seconds is marked as crashed. ``workers`` says in words where the
    runs are.
    """

    def __init__(self, run: RunContext, silence: float, workers: str) -> None:
        self._run = run
        self._silence = silence
        self._workers = workers
        self._runs: dict[UUID, _WorkerRun] = {}
        self._logged_wait = 0.0
        self._cancelled: float | None = None

    @contextlib.asynccontextmanager
    async def supervised(self) -> AsyncIterator[None]:
        """Supervise the runs that are started while the context is entered; cancel them once this run is stopped."""
        supervising = asyncio.create_task(self._supervise())
        try:
            yield
        finally:
            supervising.cancel()

    async def run(self, name: str, parameters: dict[str, Any]) -> FlowRun:
        """Start a run and return it once it has ended.

        Raises ``ServerLost`` once Prefect's server is lost, and what its client raises where it refuses.
        """
        async with get_client() as client:
            flow_run = await arun_deployment(
                DEPLOYMENT,
                client=client,
                parameters=parameters,
                flow_run_name=name,
                timeout=0,
                job_variables={"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT)}},
            )
        logger.info("%s: run %s on %s", name, flow_run.id, self._workers)
        worker_run = self._runs[flow_run.id] = _WorkerRun(flow_run)
        try:
            ended: FlowRun = await self._run.monitor.wait(worker_run.ended)
            return ended
        finally:
            del self._runs[flow_run.id]

    async def _supervise(self) -> None:
        try:
            while True:
                await self._pause()
                if self._runs and not self._run.monitor.lost:
                    await self._check()
                if self._cancelled is not None and time.monotonic() - self._cancelled > PUBLISH_LIMIT:
                    self._abandon(Interrupted("interrupted before its run on a worker told that it was copied"))
        except Exception as error:
            self._abandon(error)
            raise

    def _abandon(self, error: Exception) -> None:
        for worker_run in self._runs.values():
            if not worker_run.ended.done():
                worker_run.ended.set_exception(error)

    async def _pause(self) -> None:
        if self._run.stop.is_set() and all(worker_run.cancelled for worker_run in self._runs.values()):
            await asyncio.sleep(CHECK_WHEN_CANCELLED)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CHECK_EVERY):
                await self._run.stop.wait()

    async def _check(self) -> None:
        try:
            async with get_client() as client:
                if self._run.stop.is_set():
                    await self._cancel(client)
                await self._refresh(client)
                for worker_run in list(self._runs.values()):
                    await self._crash_if_silent(client, worker_run)
        except ServerLost:
            # The monitor raises it for those who await them.
            return
        except (httpx.HTTPError, RuntimeError) as error:
            # The monitor decides when this is too much.
            logger.info("Prefect's server does not say how the runs are: %s", describe_exception(error))
        self._log_waiting()

    async def _refresh(self, client: PrefectClient) -> None:
        """Read the states of the runs, and of the run that started them: it may have been cancelled in the UI."""
        parent = UUID(self._run.flow_run_id) if self._run.flow_run_id else None
        asked = list(self._runs.values())
        ids = [worker_run.run.id for worker_run in asked] + ([parent] if parent else [])
        found = {
            run.id: run
            for run in await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)))
        }
        if parent in found and _is_cancelled(found[parent]):
            self._run.stop.set()
        for worker_run in asked:
            run = found.get(worker_run.run.id)
            if run is None:
                worker_run.run.state = Crashed(message="it was deleted in Prefect")
                worker_run.end()
                continue
            if run.state and (worker_run.run.state is None or run.state.id != worker_run.run.state.id):
                worker_run.last_news = worker_run.last_asked = time.monotonic()
            worker_run.run = run
            if run.state and run.state.is_final():
                worker_run.end()

    async def _crash_if_silent(self, client: PrefectClient, worker_run: _WorkerRun) -> None:
        """End a run whose process is gone, although its state does not say so."""
        if worker_run.ended.done() or worker_run.state_type not in (
            StateType.PENDING,
            StateType.RUNNING,
            StateType.CANCELLING,
        ):
            return
        now = time.monotonic()
        if now - worker_run.last_asked >= self._silence / 4:
            worker_run.last_asked = now
            about = EventAnyResourceFilter(id=[f"prefect.flow-run.{worker_run.run.id}"])
            page = await client.read_events(EventFilter(any_resource=about), limit=1)
            newest = page.events[0].id if page.events else None
            if newest != worker_run.event:
                worker_run.event, worker_run.last_news = newest, now
        patience = self._silence * (PENDING_PATIENCE if worker_run.state_type == StateType.PENDING else 1)
        if now - worker_run.last_news <= patience:
            return
        message = f"no sign of life for {format_duration(now - worker_run.last_news)}: its process or machine is gone"
        logger.warning("%s: %s", worker_run.run.name, message)
        ending = Cancelled if worker_run.state_type == StateType.CANCELLING else Crashed
        state: State[None] = ending(message=message)
        await client.set_flow_run_state(worker_run.run.id, state, force=True)
        worker_run.run.state = state
        worker_run.end()

    async def _cancel(self, client: PrefectClient) -> None:
        self._cancelled = self._cancelled or time.monotonic()
        asked = [worker_run for worker_run in self._runs.values() if not worker_run.cancelled]
        state: State[None] = Cancelling(message="the run that has started it was stopped")
        for worker_run in asked:
            worker_run.cancelled = True
        answers = await asyncio.gather(
            *(client.set_flow_run_state(worker_run.run.id, state) for worker_run in asked), return_exceptions=True
        )
        for worker_run, answer in zip(asked, answers, strict=True):
            if isinstance(answer, BaseException):
                logger.info("%s could not be cancelled: %s", worker_run.run.name, answer)

    def _log_waiting(self) -> None:
        now = time.monotonic()
        waiting = [each for each in self._runs.values() if each.is_waiting and now - each.started > LOG_WAIT_AFTER]
        if not waiting or self._run.stop.is_set() or now - self._logged_wait < LOG_WAIT_AGAIN:
            return
        self._logged_wait = now
        states = ", ".join(sorted({str(worker_run.run.state and worker_run.run.state.name) for worker_run in waiting}))
        none_runs = all(worker_run.is_waiting for worker_run in self._runs.values())
        logger.log(
            logging.WARNING if none_runs else logging.INFO,
            "%s (%s) for a worker of %s",
            format_count(len(waiting), "run waits", "runs wait"),
            states,
            self._workers,
        )


def _is_cancelled(run: FlowRun) -> bool:
    return run.state is not None and run.state.type in (StateType.CANCELLING, StateType.CANCELLED)
