"""A configuration that the workers of a work pool copy: each rule with work is a run of ``sync-rule/worker``.

Data goes one way: plan → parts → runs → their outcomes → one report.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import get_current_settings

from imageferry.concurrency import for_each, until_stopped
from imageferry.copy.batches import Batch, split_into_batches
from imageferry.copy.options import DEFAULT_PROC, DEFAULT_RETRIES
from imageferry.copy.runner import IMAGES_AT_ONCE, RULES_COPIED_AT_ONCE
from imageferry.errors import ImageferryError
from imageferry.report.outcomes import ImageOutcome, Totals
from orchestration.run_context import RunContext
from orchestration.settings import settings
from orchestration.step import run_tracked
from orchestration.workers.outcome_pages import read_outcomes
from orchestration.workers.runs import DEPLOYMENT, WorkerRuns

logger = logging.getLogger("imageferry.workers")

#: Runs that are on the server at once, at work or waiting for a worker: those of a run that is killed are all left.
RUNS_AT_ONCE = 100

#: The figures that are of a run, and not of its images.
_OF_RUNS = ("bytes_read", "bytes_written", "blobs_copied", "blobs_mounted", "blobs_present")


class NoWorkersError(ImageferryError):
    """There is nothing to have runs of rules on workers with. Says what to do."""


class RunFailed(ImageferryError):
    """A run on a worker ended without telling what became of an image."""


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
        raise NoWorkersError(f"the Prefect server at {server} cannot be used: {error}") from None
    if "images" not in (deployment.parameter_openapi_schema or {}).get("properties", {}):
        raise NoWorkersError(
            f"the deployment {DEPLOYMENT} is that of an older Imageferry: bring it up to date with `make deploy`"
        )
    pool = deployment.work_pool_name
    return f"the work pool {pool}" if pool else "deployments.serve"


def workers_fault() -> str:
    """Say what is wrong with the workers, where there is no event loop; empty where nothing is."""
    try:
        asyncio.run(find_workers())
    except NoWorkersError as error:
        return str(error)
    return ""


async def copy_on_workers(
    run: RunContext, rules: list[str], config: str, force: bool, platforms: list[str] | None
) -> None:
    """Have the planned rules that have work copied by runs on workers.

    Raises ``NoWorkersError`` before anything is copied. Once Prefect's server is gone, this process copies the rest.
    """
    workers = await find_workers()
    parts = split_into_batches(
        {name: run.work[name].values() for name in rules if name in run.work}, settings().images_per_run
    )
    parameters: dict[str, Any] = {"config": config, "force": force, "platforms": platforms}
    # What is as it always is does not make each run's parameters longer.
    if run.engine.options.proc != DEFAULT_PROC:
        parameters["proc"] = run.engine.options.proc
    if run.engine.options.retries != DEFAULT_RETRIES:
        parameters["retries"] = run.engine.options.retries
    children = WorkerRuns(run, settings().silence_limit, workers)
    distribution = _Distribution(run, children, parameters, 1 + settings().reruns)
    async with children.looked_after():
        await for_each(parts, RUNS_AT_ONCE, distribution.copy)


class _Distribution:
    """What a run has copied by others, a part a run."""

    def __init__(self, run: RunContext, children: WorkerRuns, parameters: dict[str, Any], attempts: int) -> None:
        self._run = run
        self._children = children
        self._parameters = parameters
        self._attempts = attempts
        self._by_itself = asyncio.Semaphore(RULES_COPIED_AT_ONCE)

    async def copy(self, part: Batch) -> None:
        """Have a part copied."""
        if self._run.stop.is_set():
            return
        try:
            # Prefect keeps a task run in this flow run for each run of another, and ends it after that.
            with self._run.timed(part.rule):
                await run_tracked(self._run, lambda: self._on_workers(part), lambda: self._here(part))
        except ImageferryError as error:
            self._give_up(part, error)

    async def _on_workers(self, part: Batch) -> None:
        """Have a part copied by a run, and by another one where that one is lost."""
        for attempt in range(1, self._attempts + 1):
            if attempt > 1:
                await self._run.recorder.task_started()
            ended = await self._start(part)
            self._run.subflows[part.rule] = str(ended.id)
            told = await self._outcomes(ended)
            if told is not None:
                self._take(part, *told, again=attempt > 1)
            if part.is_finished or self._run.stop.is_set():
                return
            lost = told is None and _type(ended) in (StateType.CRASHED, StateType.COMPLETED)
            if not lost or attempt == self._attempts:
                raise RunFailed(_why(ended, told, attempt))
            logger.warning("%s is run again, elsewhere: %s", part.name, _why(ended, told, attempt))

    async def _start(self, part: Batch) -> FlowRun:
        try:
            return await self._children.run(part.name, self._parameters | {"rule": part.rule, "images": part.images})
        except PrefectHTTPStatusError as error:
            if error.response.status_code >= 500:
                raise
            raise RunFailed(f"Prefect's server refuses its run of {DEPLOYMENT}: {error}") from None
        except ObjectNotFound:
            raise RunFailed(f"the deployment {DEPLOYMENT} was deleted: make it again with `make deploy`") from None

    async def _outcomes(self, ended: FlowRun) -> tuple[Totals, list[ImageOutcome]] | None:
        async with get_client() as client:
            return await read_outcomes(client, ended.id)

    def _take(self, part: Batch, totals: Totals, images: list[ImageOutcome], *, again: bool) -> None:
        outcomes = self._run.engine.outcomes
        for name in _OF_RUNS:
            setattr(outcomes.totals, name, getattr(outcomes.totals, name) + getattr(totals, name))
        self._run.engine.results.merge(part, images, again=again)

    async def _here(self, part: Batch) -> None:
        """Copy in this process what is not settled: Prefect cannot have it done."""
        async with self._by_itself:
            await until_stopped(self._run.stop, for_each(part.jobs, IMAGES_AT_ONCE, self._run.runner.copy))

    def _give_up(self, part: Batch, error: ImageferryError) -> None:
        for work in part.jobs:
            self._run.engine.give_up(work, error)


def _type(run: FlowRun) -> StateType | None:
    return run.state.type if run.state else None


def _why(run: FlowRun, told: tuple[Totals, list[ImageOutcome]] | None, attempt: int) -> str:
    """Say why a run has not told what became of all its images."""
    state = run.state.name if run.state else "nowhere"
    message = f": {run.state.message}" if run.state and run.state.message else ""
    times = "" if attempt == 1 else f", the last of {attempt} runs"
    if told is None:
        return f"its run {run.id}{times} ended {state}{message}"
    # One whose rule could not be planned tells of the rule and not of its images.
    errors = dict.fromkeys(image.error for image in told[1] if image.error)
    why = "; ".join(errors) or "it copied other images: the configuration on its machine is another one"
    return f"its run {run.id}{times} ended {state}{message}; {why}"
