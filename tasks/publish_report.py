"""The task that leaves a run's report in Prefect: what was copied and what failed."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.runtime import flow_run

from imageferry.report.by_rule import stats_by_rule
from imageferry.report.outcomes import ImageOutcome, Outcome, Report
from imageferry.text import format_size
from orchestration.artifacts.keys import run_key
from orchestration.artifacts.markup import quote_markup
from orchestration.artifacts.rule_history import publish_rule_history
from orchestration.artifacts.summary import format_headline, format_summary
from orchestration.retries import TASK_OPTIONS
from orchestration.run_context import RunContext, run_context
from orchestration.step import run_tracked

# Rows of a table; the report file has them all.
ROWS = 500


@task(name="report", task_run_name="report", **TASK_OPTIONS)
async def publish_report(flow_run_id: str) -> None:
    """Create the run's artifacts: a summary, what changed and what failed, and the rows of the rules that had work."""
    run = run_context()
    report = run.engine.outcomes.report(run_id=flow_run_id)
    figures = stats_by_rule(report.images, run.engine.configuration.rules)
    for each in figures:
        each.seconds = run.seconds.get(each.rule, 0.0)
    try:
        if not run.engine.options.dry_run:
            await publish_rule_history(report, figures, run.subflows)
        rows = [_row(image) for image in _noteworthy(report)]
        if rows:
            await acreate_table_artifact(
                rows[:ROWS], key=await run_key(run, "images"), description="What changed and what failed"
            )
    finally:
        text = format_summary(report, figures, run.failed_in, run.subflows)
        await acreate_markdown_artifact(text, key=await run_key(run, "summary"), description=format_headline(report))


def _noteworthy(report: Report) -> list[ImageOutcome]:
    """Return what is not up to date, failures first."""
    changed = [image for image in report.images if image.outcome is not Outcome.UP_TO_DATE]
    return sorted(changed, key=lambda image: image.outcome is not Outcome.FAILED)


def _row(image: ImageOutcome) -> dict[str, str]:
    return {
        "outcome": image.outcome.value,
        "source": quote_markup(image.source),
        "destination": quote_markup(image.destination),
        "sent": format_size(image.bytes),
        "error": quote_markup(image.error or ""),
    }


async def report_run(run: RunContext) -> None:
    """Publish the report in Prefect, where Prefect can take it."""

    async def published() -> None:
        await publish_report(str(flow_run.id), return_state=True)  # type: ignore[misc] # Prefect types it as not awaited

    async def untracked() -> None:
        """Leave the report to the caller."""

    await run_tracked(run, published, untracked)
