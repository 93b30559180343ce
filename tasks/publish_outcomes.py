"""What became of a run's images, published for the run that started it."""

from __future__ import annotations

import contextlib

from prefect import task
from prefect.artifacts import Artifact

from imageferry.copy.errors import Interrupted
from orchestration.retries import TASK_OPTIONS
from orchestration.run_context import RunContext, run_context
from orchestration.step import run_tracked
from orchestration.workers.outcome_pages import TYPE, split_into_pages


@task(name="outcomes", task_run_name="outcomes", **TASK_OPTIONS)
async def publish_outcomes() -> None:
    """Create the artifacts with the outcome of each image of the run."""
    for page in split_into_pages(run_context().engine.outcomes.report()):
        data = page.model_dump(mode="json")
        await Artifact(type=TYPE, description="What became of each image, for the run above", data=data).acreate()


async def report_outcomes(run: RunContext) -> None:
    """Publish what became of each image, where Prefect can take it."""

    async def untracked() -> None:
        """Publish nothing: without Prefect's server there is no one to read it."""

    # A run that was stopped publishes what it still can.
    with contextlib.suppress(Interrupted):
        await run_tracked(run, publish_outcomes, untracked)
