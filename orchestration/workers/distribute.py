"""A configuration that the workers of a work pool copy: each rule with work is a run of ``sync-rule/worker``.

Data goes one way: plan → batches → runs → their outcomes → one report.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import get_current_settings

from imageferry.concurrency import for_each, for_each_arriving, until_stopped
from imageferry.copy.batches import Batch, split_into_batches
from imageferry.copy.options import DEFAULT_PROC, DEFAULT_RETRIES
from imageferry.copy.runner import IMAGES_AT_ONCE, RULES_COPIED_AT_ONCE
from imageferry.errors import ImageferryError
from imageferry.report.outcomes import ImageOutcome, Totals
from orchestration.open_run import RunRequest
from orchestration.run_context import RunContext
from orchestration.server.client_call import describe_server_error
from orchestration.settings import settings
from orchestration.step import run_tracked
from orchestration.workers.outcome_pages import read_outcomes
from orchestration.workers.runs import DEPLOYMENT, WorkerRuns

logger = logging.getLogger("imageferry.workers")

# Runs on the server at once, running or waiting for a worker: those of a run that is killed are all left behind.
RUNS_AT_ONCE = 100


class NoWorkersError(ImageferryError):
    """There is nothing to have runs of rules on workers with. Says what to do."""


class RunFailed(ImageferryError):
    """A run on a worker ended without publishing the outcome of an image."""


async def find_workers() -> str:
    """Look for the deployment whose runs copy rules; say in words where they are run. Raises ``NoWorkersError``."""
    server = get_current_settings().api.url
    try:
        async with get_client() as client:
            deployment = await client.read_deployment_by_name(DEPLOYMENT)
    except ObjectNotFound:
        raise NoWorkersError(
            f"the Prefect server at {server} has no deployment {DEPLOYMENT}: make it with `make deploy`, "
            "and start workers with `prefect worker start --pool imageferry`"
        ) from None
    except (httpx.HTTPError, RuntimeError) as error:
        raise NoWorkersError(f"the Prefect server at {server} cannot be used: {describe_server_error(error)}") from None
    if not {"images", "withheld"} <= set((deployment.parameter_openapi_schema or {}).get("properties", {})):
        raise NoWorkersError(
            f"the deployment {DEPLOYMENT} is that of an older Imageferry: bring it up to date with `make deploy`"
        )
    pool = deployment.work_pool_name
    return f"the work pool {pool}" if pool else "deployments.serve"


def find_workers_problem() -> str:
    """Return what is wrong with the workers, in words; empty where nothing is. For where no event loop runs."""
    try:
        asyncio.run(find_workers())
    except NoWorkersError as error:
        return str(error)
    return ""


async def copy_on_workers(run: RunContext, rules: list[str], request: RunRequest, workers: str) -> None:
    """Have the rules that have work copied by runs on workers, each once it is planned.

    ``workers`` is what ``find_workers`` returned. Once Prefect's server is lost, this process copies the rest.
    """

    async def batches() -> AsyncIterator[Batch]:
        async for rule, jobs in run.planned(rules):
            for batch in split_into_batches({rule.name: jobs} if jobs else {}, settings().images_per_run):
                yield batch

    parameters: dict[str, Any] = {
        "config": request.config,
        "force": request.force,
        "platforms": request.platforms,
    }
    # Defaults are left out, to keep the parameters of each run short.
    if run.engine.options.proc != DEFAULT_PROC:
        parameters["proc"] = run.engine.options.proc
    if run.engine.options.retries != DEFAULT_RETRIES:
        parameters["retries"] = run.engine.options.retries
    worker_runs = WorkerRuns(run, settings().silence_limit, workers)
    distribution = _Distributor(run, worker_runs, parameters, 1 + settings().reruns)
    async with worker_runs.supervised():
        await for_each_arriving(batches(), RUNS_AT_ONCE, distribution.copy)


class _Distributor:
    """Has the batches of a run copied by runs on workers, a run a batch."""

    def __init__(self, run: RunContext, worker_runs: WorkerRuns, parameters: dict[str, Any], attempts: int) -> None:
        self._run = run
        self._worker_runs = worker_runs
        self._parameters = parameters
        self._attempts = attempts
        self._local_slots = asyncio.Semaphore(RULES_COPIED_AT_ONCE)

    async def copy(self, batch: Batch) -> None:
        """Have a batch copied."""
        if self._run.stop.is_set():
            return
        try:
            # Prefect keeps a task run in this flow run for each run of another, and ends it after that.
            with self._run.timed(batch.rule):
                await run_tracked(self._run, lambda: self._on_workers(batch), lambda: self._copy_here(batch))
        except Exception as error:
            # Whatever it is, it costs this batch alone, and is reported.
            self._give_up(batch, error)

    async def _on_workers(self, batch: Batch) -> None:
        """Have a batch copied by a run, and by another one where that one is lost."""
        for attempt in range(1, self._attempts + 1):
            if attempt > 1:
                await self._run.recorder.task_started()
            ended = await self._start(batch)
            self._run.subflows[batch.rule] = str(ended.id)
            published = await self._outcomes(ended)
            if published is not None:
                self._take(batch, *published, again=attempt > 1)
            if batch.is_finished or self._run.stop.is_set():
                return
            lost = published is None and _state_type(ended) in (StateType.CRASHED, StateType.COMPLETED)
            if not lost or attempt == self._attempts:
                raise RunFailed(_explain(ended, published, attempt))
            logger.warning("%s is run again, elsewhere: %s", batch.name, _explain(ended, published, attempt))

    async def _start(self, batch: Batch) -> FlowRun:
        try:
            parameters = self._parameters | {"rule": batch.rule, "images": batch.images}
            if batch.withheld:
                parameters["withheld"] = batch.withheld
            return await self._worker_runs.run(batch.name, parameters)
        except PrefectHTTPStatusError as error:
            if error.response.status_code >= 500:
                raise
            raise RunFailed(f"Prefect's server refuses its run of {DEPLOYMENT}: {error}") from None
        except ObjectNotFound:
            raise RunFailed(f"the deployment {DEPLOYMENT} was deleted: make it again with `make deploy`") from None

    async def _outcomes(self, ended: FlowRun) -> tuple[Totals, list[ImageOutcome]] | None:
        async with get_client() as client:
            return await read_outcomes(client, ended.id)

    def _take(self, batch: Batch, totals: Totals, images: list[ImageOutcome], *, again: bool) -> None:
        self._run.engine.outcomes.totals.add_transfer(totals)
        self._run.engine.results.merge(batch, images, again=again)

    async def _copy_here(self, batch: Batch) -> None:
        """Copy in this process what is not finished: Prefect cannot have it done."""
        async with self._local_slots:
            await until_stopped(self._run.stop, for_each(batch.jobs, IMAGES_AT_ONCE, self._run.runner.copy))

    def _give_up(self, batch: Batch, error: Exception) -> None:
        for job in batch.jobs:
            self._run.engine.give_up(job, error)


def _state_type(run: FlowRun) -> StateType | None:
    return run.state.type if run.state else None


def _explain(run: FlowRun, published: tuple[Totals, list[ImageOutcome]] | None, attempt: int) -> str:
    """Explain why the outcomes of some images of a run are unknown."""
    state = run.state.name if run.state else "nowhere"
    message = f": {run.state.message}" if run.state and run.state.message else ""
    times = "" if attempt == 1 else f", the last of {attempt} runs"
    if published is None:
        return f"its run {run.id}{times} ended {state}{message}"
    # A run that could not plan its rule publishes the rule as failed, not its images.
    errors = dict.fromkeys(image.error for image in published[1] if image.error)
    why = "; ".join(errors) or "it copied other images: the configuration on its machine is another one"
    return f"its run {run.id}{times} ended {state}{message}; {why}"
