"""The runs that a run has on the workers of a work pool: started, looked after, and cancelled with it."""

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
from imageferry.text import format_count, format_duration
from orchestration.run_context import RunContext
from orchestration.server.monitor import ServerLost

logger = logging.getLogger("imageferry.workers")

#: The deployment whose runs these are.
DEPLOYMENT = "sync-rule/worker"

#: Seconds between two looks; and between those at runs that are to end.
LOOK_EVERY = 2.0
LOOK_HURRIED = 0.5

#: Seconds between two signs of life of a run: the least that Prefect allows.
HEARTBEAT = 30

#: Seconds in which runs that are cancelled may still tell what they have done: the report has to follow.
TELL_LIMIT = 3.0

#: A run that a worker has taken gives no sign of life before its process or container runs: images are pulled for long.
PENDING_PATIENCE = 5

#: Seconds for which runs may wait for a worker until it is said, and after which it is said again.
SAY_AFTER = 30.0
SAY_AGAIN = 300.0


@dataclass
class _WorkerRun:
    """A run at a worker, and when something new was heard of it."""

    run: FlowRun
    begun: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    asked: float = field(default_factory=time.monotonic)
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

    A run that gives no sign of life for ``silence`` seconds is marked as crashed. ``place`` says in words where they
    are run.
    """

    def __init__(self, run: RunContext, silence: float, place: str) -> None:
        self._run = run
        self._silence = silence
        self._place = place
        self._children: dict[UUID, _WorkerRun] = {}
        self._said = 0.0
        self._cancelled: float | None = None

    @contextlib.asynccontextmanager
    async def looked_after(self) -> AsyncIterator[None]:
        """Look after those that are started while the context is entered; cancel them once the run is stopped."""
        looking = asyncio.create_task(self._look_after())
        try:
            yield
        finally:
            looking.cancel()

    async def run(self, name: str, parameters: dict[str, Any]) -> FlowRun:
        """Start a run and give it once it has ended.

        Raises ``HistoryLost`` once Prefect's server is gone, and what its client raises where it refuses.
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
        logger.info("%s: run %s on %s", name, flow_run.id, self._place)
        child = self._children[flow_run.id] = _WorkerRun(flow_run)
        try:
            ended: FlowRun = await self._run.monitor.wait(child.ended)
            return ended
        finally:
            del self._children[flow_run.id]

    async def _look_after(self) -> None:
        try:
            while True:
                await self._pause()
                if self._children and not self._run.monitor.lost:
                    await self._look()
                if self._cancelled is not None and time.monotonic() - self._cancelled > TELL_LIMIT:
                    self._abandon(Interrupted("interrupted before its run on a worker told that it was copied"))
        except Exception as error:
            self._abandon(error)
            raise

    def _abandon(self, error: Exception) -> None:
        for child in self._children.values():
            if not child.ended.done():
                child.ended.set_exception(error)

    async def _pause(self) -> None:
        if self._run.stop.is_set() and all(child.cancelled for child in self._children.values()):
            await asyncio.sleep(LOOK_HURRIED)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY):
                await self._run.stop.wait()

    async def _look(self) -> None:
        try:
            async with get_client() as client:
                if self._run.stop.is_set():
                    await self._cancel(client)
                await self._read(client)
                for child in list(self._children.values()):
                    await self._judge(client, child)
        except ServerLost:
            # Who awaits them is told by the watch.
            return
        except (httpx.HTTPError, RuntimeError) as error:
            # The watch says when this is too much.
            logger.info("Prefect's server does not say how the runs are: %s", str(error) or type(error).__name__)
        self._say_waiting()

    async def _read(self, client: PrefectClient) -> None:
        """Ask how the runs are, and the run that has started them: it may have been cancelled in the UI."""
        parent = UUID(self._run.flow_run_id) if self._run.flow_run_id else None
        asked = list(self._children.values())
        ids = [child.run.id for child in asked] + ([parent] if parent else [])
        found = {
            run.id: run
            for run in await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)))
        }
        if parent in found and _is_cancelled(found[parent]):
            self._run.stop.set()
        for child in asked:
            run = found.get(child.run.id)
            if run is None:
                child.run.state = Crashed(message="it was deleted in Prefect")
                child.end()
                continue
            if run.state and (child.run.state is None or run.state.id != child.run.state.id):
                child.heard = child.asked = time.monotonic()
            child.run = run
            if run.state and run.state.is_final():
                child.end()

    async def _judge(self, client: PrefectClient, child: _WorkerRun) -> None:
        """End a run whose process is gone, though its state does not say so."""
        if child.ended.done() or child.state_type not in (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING):
            return
        now = time.monotonic()
        if now - child.asked >= self._silence / 4:
            child.asked = now
            about = EventAnyResourceFilter(id=[f"prefect.flow-run.{child.run.id}"])
            page = await client.read_events(EventFilter(any_resource=about), limit=1)
            newest = page.events[0].id if page.events else None
            if newest != child.event:
                child.event, child.heard = newest, now
        patience = self._silence * (PENDING_PATIENCE if child.state_type == StateType.PENDING else 1)
        if now - child.heard <= patience:
            return
        message = f"no sign of life for {format_duration(now - child.heard)}: its process or machine is gone"
        logger.warning("%s: %s", child.run.name, message)
        ending = Cancelled if child.state_type == StateType.CANCELLING else Crashed
        state: State[None] = ending(message=message)
        await client.set_flow_run_state(child.run.id, state, force=True)
        child.run.state = state
        child.end()

    async def _cancel(self, client: PrefectClient) -> None:
        self._cancelled = self._cancelled or time.monotonic()
        asked = [child for child in self._children.values() if not child.cancelled]
        state: State[None] = Cancelling(message="the run that has started it was stopped")
        for child in asked:
            child.cancelled = True
        answers = await asyncio.gather(
            *(client.set_flow_run_state(child.run.id, state) for child in asked), return_exceptions=True
        )
        for child, answer in zip(asked, answers, strict=True):
            if isinstance(answer, BaseException):
                logger.info("%s could not be cancelled: %s", child.run.name, answer)

    def _say_waiting(self) -> None:
        now = time.monotonic()
        waiting = [each for each in self._children.values() if each.is_waiting and now - each.begun > SAY_AFTER]
        if not waiting or self._run.stop.is_set() or now - self._said < SAY_AGAIN:
            return
        self._said = now
        states = ", ".join(sorted({str(child.run.state and child.run.state.name) for child in waiting}))
        none_runs = all(child.is_waiting for child in self._children.values())
        logger.log(
            logging.WARNING if none_runs else logging.INFO,
            "%s (%s) for a worker of %s",
            format_count(len(waiting), "run waits", "runs wait"),
            states,
            self._place,
        )


def _is_cancelled(run: FlowRun) -> bool:
    return run.state is not None and run.state.type in (StateType.CANCELLING, StateType.CANCELLED)
