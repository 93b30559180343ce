"""The closing summary: the counts, and each failure with what a person can do about it."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from imageferry.report.outcomes import ImageOutcome, Outcome, Report
from imageferry.text import escape_control, format_count, format_size

# Warnings that are listed one by one; the report file has all.
WARNINGS_LISTED = 20

# Rules whose choice of tags is described; the report file has all.
CHOICES_LISTED = 20


def print_summary(report: Report, console: Console) -> None:
    """Write the summary of a run."""
    failures = [image for image in report.images if image.outcome is Outcome.FAILED]
    if failures:
        console.print(Text(f"\n{format_count(len(failures), 'image')} failed:", style="bold red"))
        for image in failures:
            console.print(_line(image, image.error), soft_wrap=True)
        console.print()
    if warnings := report.warnings:
        console.print(Text(f"\n{format_count(len(warnings), 'image')} with a warning:", style="bold yellow"))
        for image in warnings[:WARNINGS_LISTED]:
            console.print(_line(image, image.warning), soft_wrap=True)
        if len(warnings) > WARNINGS_LISTED:
            console.print(f"  and {len(warnings) - WARNINGS_LISTED:,} more: see the report")
        console.print()
    print_choices(report, console)
    for note in report.notes:
        console.print(Text(f"note: {escape_control(note)}"), soft_wrap=True)
    style = "bold red" if failures else "bold green"
    console.print(Text(f"{report.status}: ", style=style) + Text(report.summary), soft_wrap=True)
    console.print(Text(_blobs(report), style="dim"), soft_wrap=True)


def print_choices(report: Report, console: Console) -> None:
    """Write what tag policies left out, a rule after the other."""
    choices = report.choices
    for choice in choices[:CHOICES_LISTED]:
        first, *more = choice.lines
        console.print(Text(escape_control(first)), soft_wrap=True)
        for line in more:
            console.print(Text(f"  {escape_control(line)}", style="dim"), soft_wrap=True)
    if (rest := len(choices) - CHOICES_LISTED) > 0:
        console.print(f"and {format_count(rest, 'more rule chooses', 'more rules choose')} tags: see the report")


def _line(image: ImageOutcome, words: str | None) -> Text:
    where = Text(f"  {escape_control(image.source)} -> {escape_control(image.destination)}\n", style="bold")
    return where + Text(f"    {escape_control(words or '')}", style="not bold")


def _blobs(report: Report) -> str:
    totals = report.totals
    return (
        f"{format_size(totals.bytes_read)} read, {format_size(totals.bytes_written)} sent; blobs: "
        f"{totals.blobs_copied:,} copied, {totals.blobs_mounted:,} mounted, {totals.blobs_present:,} already there"
    )
