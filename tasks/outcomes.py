"""What became of a run's images, left in Prefect for the run that started it: no disk is common to workers."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from prefect import task
from prefect.artifacts import Artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterType
from pydantic import BaseModel, ValidationError

from imageferry.report import ImageOutcome, Report, Totals
from tasks.current import current

#: The type of these artifacts. They have no key: there is nothing to compare between runs.
TYPE = "imageferry-outcomes"

#: Images in one artifact: some 300 kB of JSON.
ROWS = 1000

#: Artifacts that are read at once.
AT_ONCE = 10


class Told(BaseModel):
    """Page ``page``, from 1, of ``pages`` of what a run tells of its images. The totals are those of the run."""

    page: int
    pages: int
    totals: Totals
    images: list[ImageOutcome]


@task(name="outcomes", task_run_name="outcomes", cache_policy=NO_CACHE, persist_result=False)
async def publish_outcomes() -> None:
    """Create the artifacts that tell what became of each image of the run."""
    for page in pages(current().ferry.outcomes.report()):
        data = page.model_dump(mode="json")
        await Artifact(type=TYPE, description="What became of each image, for the run above", data=data).acreate()


def pages(report: Report, rows: int = ROWS) -> list[Told]:
    """Give what a report tells in pages of so many images; one page at least."""
    parts = [report.images[start : start + rows] for start in range(0, len(report.images), rows)] or [[]]
    return [
        Told(page=number, pages=len(parts), totals=report.totals, images=images)
        for number, images in enumerate(parts, 1)
    ]


async def read_outcomes(client: PrefectClient, flow_run_id: UUID) -> tuple[Totals, list[ImageOutcome]] | None:
    """Give what a run has told; None where it has not told all of it."""
    wanted = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]), type=ArtifactFilterType(any_=[TYPE])
    )
    found: dict[int, Told] = {}
    read = 0
    # Few at once: each may be large.
    while page := await client.read_artifacts(artifact_filter=wanted, limit=AT_ONCE, offset=read):
        found |= {told.page: told for told in (_told(artifact.data) for artifact in page) if told is not None}
        read += len(page)
    complete = [found[number] for number in sorted(found)]
    if not complete or len(complete) != complete[0].pages:
        return None
    return complete[0].totals, [image for told in complete for image in told.images]


def _told(data: Any) -> Told | None:
    try:
        return Told.model_validate(json.loads(data) if isinstance(data, str) else data)
    except ValidationError:
        # A later Imageferry may tell more than this one knows.
        return None
