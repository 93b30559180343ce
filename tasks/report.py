"""The task that leaves a run's report in Prefect: what was copied and what failed."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.cache_policies import NO_CACHE

from imageferry import words
from imageferry.figures import by_rule
from imageferry.report import ImageOutcome, Outcome, Report
from tasks.current import current
from tasks.markdown import headline, summary
from tasks.tables import publish_tables

#: Rows of a table; the report file has them all.
ROWS = 500

SUMMARY_KEY = "imageferry-summary"
IMAGES_KEY = "imageferry-images"


@task(name="report", task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
async def publish_report(flow_run_id: str) -> None:
    """Create the run's artifacts: a summary, what changed and what failed, and the rows of the rules that had work."""
    run = current()
    report = run.ferry.outcomes.report(flow_run_id=flow_run_id)
    figures = by_rule(report.images, run.ferry.configuration.rules)
    for each in figures:
        each.seconds = run.seconds.get(each.rule, 0.0)
    try:
        if not run.ferry.options.dry_run:
            await publish_tables(report, figures, run.subflows)
        rows = [_row(image) for image in _noteworthy(report)]
        if rows:
            await acreate_table_artifact(rows[:ROWS], key=IMAGES_KEY, description="What changed and what failed")
    finally:
        text = summary(report, figures, run.failed_in, run.subflows)
        await acreate_markdown_artifact(text, key=SUMMARY_KEY, description=headline(report))


def _noteworthy(report: Report) -> list[ImageOutcome]:
    """Give what is not up to date, failures first."""
    changed = [image for image in report.images if image.outcome is not Outcome.UP_TO_DATE]
    return sorted(changed, key=lambda image: image.outcome is not Outcome.FAILED)


def _row(image: ImageOutcome) -> dict[str, str]:
    return {
        "outcome": image.outcome.value,
        "source": image.source,
        "destination": image.destination,
        "sent": words.size(image.bytes),
        "error": words.printable(image.error or ""),
    }
