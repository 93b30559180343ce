"""What became of a run's images, in artifacts that the run which started it reads: workers share no disk."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterType
from pydantic import BaseModel, ValidationError

from imageferry.report.outcomes import ImageOutcome, Report, Totals

# The type of these artifacts. They have no key: there is nothing to compare between runs.
TYPE = "imageferry-outcomes"

# Images in one artifact: some 300 kB of JSON.
IMAGES_PER_PAGE = 1000

# Artifacts that are read at once.
PAGES_READ_AT_ONCE = 10


class OutcomePage(BaseModel):
    """Page ``page``, from 1, of ``pages`` of the outcomes of a run. The totals are those of the whole run."""

    page: int
    pages: int
    totals: Totals
    images: list[ImageOutcome]


def split_into_pages(report: Report, rows: int = IMAGES_PER_PAGE) -> list[OutcomePage]:
    """Split a report into pages of ``rows`` images; one page at least."""
    parts = [report.images[start : start + rows] for start in range(0, len(report.images), rows)] or [[]]
    return [
        OutcomePage(page=number, pages=len(parts), totals=report.totals, images=images)
        for number, images in enumerate(parts, 1)
    ]


async def read_outcomes(client: PrefectClient, flow_run_id: UUID) -> tuple[Totals, list[ImageOutcome]] | None:
    """Return what a run has published; None where pages are missing."""
    wanted = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]), type=ArtifactFilterType(any_=[TYPE])
    )
    found: dict[int, OutcomePage] = {}
    read = 0
    # Few at once: each may be large.
    while page := await client.read_artifacts(artifact_filter=wanted, limit=PAGES_READ_AT_ONCE, offset=read):
        parsed = (_parse_page(artifact.data) for artifact in page)
        found |= {each.page: each for each in parsed if each is not None}
        read += len(page)
    complete = [found[number] for number in sorted(found)]
    if not complete or len(complete) != complete[0].pages:
        return None
    return complete[0].totals, [image for each in complete for image in each.images]


def _parse_page(data: Any) -> OutcomePage | None:
    try:
        return OutcomePage.model_validate(json.loads(data) if isinstance(data, str) else data)
    except ValidationError:
        # A later Imageferry may publish more than this one knows.
        return None
