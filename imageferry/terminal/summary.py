"""The closing summary: the counts, and each failure with what a person can do about it."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from imageferry import words
from imageferry.report import ImageOutcome, Outcome, Report


def show(report: Report, console: Console) -> None:
    """Write the summary of a run."""
    failures = [image for image in report.images if image.outcome is Outcome.FAILED]
    if failures:
        console.print(Text(f"\n{words.count(len(failures), 'image')} failed:", style="bold red"))
        for image in failures:
            console.print(_failure(image), soft_wrap=True)
        console.print()
    style = "bold red" if failures else "bold green"
    console.print(Text(f"{report.status}: ", style=style) + Text(report.summary), soft_wrap=True)
    console.print(Text(_blobs(report), style="dim"), soft_wrap=True)


def _failure(image: ImageOutcome) -> Text:
    where = Text(f"  {words.printable(image.source)} -> {words.printable(image.destination)}\n", style="bold")
    return where + Text(f"    {words.printable(image.error or '')}", style="not bold")


def _blobs(report: Report) -> str:
    totals = report.totals
    return (
        f"{words.size(totals.bytes_read)} read, {words.size(totals.bytes_written)} sent; blobs: "
        f"{totals.blobs_copied:,} copied, {totals.blobs_mounted:,} mounted, {totals.blobs_present:,} already there"
    )
