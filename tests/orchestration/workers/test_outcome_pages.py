"""What a run on a worker tells of its images, over Prefect's artifacts."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from imageferry.report.outcomes import ImageOutcome, Outcome, Report, Status, Totals
from orchestration.workers.outcome_pages import IMAGES_PER_PAGE, TYPE, read_outcomes, split_into_pages


class Artifacts:
    """As much of Prefect's client as is asked for artifacts."""

    def __init__(self, data: list[Any]) -> None:
        self._data = data

    async def read_artifacts(self, *, artifact_filter: Any, limit: int, offset: int) -> list[Any]:
        assert artifact_filter.type.any_ == [TYPE]
        return [SimpleNamespace(data=each) for each in self._data[offset : offset + limit]]


async def test_ten_thousand_images_come_back_as_they_were_told_or_not_at_all() -> None:
    images = [
        ImageOutcome(f"a.example/x:v{n}", f"b.example/x:v{n}", Outcome.FAILED if n % 2 else Outcome.COPIED, bytes=n)
        for n in range(10 * IMAGES_PER_PAGE + 1)
    ]
    totals = Totals(copied=5001, failed=5000, bytes_read=7, blobs_mounted=3)
    report = Report(started=datetime.now(UTC), seconds=1, status=Status.FAILED, totals=totals, images=images)
    told = [page.model_dump_json() for page in split_into_pages(report)]
    assert len(told) == 11
    assert max(map(len, told)) < 400_000
    # The server gives the newest first.
    newest_first: Any = Artifacts(told[::-1])
    assert await read_outcomes(newest_first, uuid4()) == (totals, images)
    incomplete: Any = Artifacts(told[1:])
    assert await read_outcomes(incomplete, uuid4()) is None
    foreign: Any = Artifacts([*told[:-1], '{"page": 11}'])
    assert await read_outcomes(foreign, uuid4()) is None
    nothing: Any = Artifacts([])
    assert await read_outcomes(nothing, uuid4()) is None
