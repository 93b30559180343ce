"""The task that leaves a run's report in Prefect: what was copied and what failed."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.cache_policies import NO_CACHE

from imageferry import words
from imageferry.report import ImageOutcome, Outcome, Report
from tasks.current import current

#: Rows of a table; the report file has them all.
ROWS = 500

SUMMARY_KEY = "imageferry-summary"
IMAGES_KEY = "imageferry-images"


@task(name="report", task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
async def publish_report(flow_run_id: str) -> None:
    """Create the run's artifacts: a Markdown summary, and a table of what changed and what failed."""
    report = current().ferry.outcomes.report(flow_run_id=flow_run_id)
    await acreate_markdown_artifact(markdown(report), key=SUMMARY_KEY, description=report.summary)
    rows = [_row(image) for image in _noteworthy(report)]
    if rows:
        await acreate_table_artifact(rows[:ROWS], key=IMAGES_KEY, description="What changed and what failed")


def markdown(report: Report) -> str:
    """Give the summary as Markdown: the counts, then each failure with its cause."""
    totals = report.totals
    figures = [
        ("images copied", f"{totals.copied:,}"),
        ("up to date", f"{totals.up_to_date:,}"),
        ("skipped by a filter", f"{totals.skipped:,}"),
        ("failed", f"{totals.failed:,}"),
        ("read", words.size(totals.bytes_read)),
        ("sent", words.size(totals.bytes_written)),
        (
            "blobs copied / mounted / already there",
            f"{totals.blobs_copied:,} / {totals.blobs_mounted:,} / {totals.blobs_present:,}",
        ),
        ("time", words.duration(report.seconds)),
    ]
    lines = [
        f"# {report.summary}",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in figures),
    ]
    failures = [image for image in report.images if image.outcome is Outcome.FAILED]
    if failures:
        lines += [
            "",
            f"## {words.count(len(failures), 'image')} failed",
            "",
            "| source | destination | cause |",
            "|---|---|---|",
        ]
        lines += [f"| {_cell(i.source)} | {_cell(i.destination)} | {_cell(i.error or '')} |" for i in failures[:ROWS]]
        if len(failures) > ROWS:
            lines += ["", f"and {len(failures) - ROWS:,} more"]
    return "\n".join(lines)


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
        "error": image.error or "",
    }


def _cell(text: str) -> str:
    return words.printable(text).replace("|", "\\|")
