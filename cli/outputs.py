"""What a run writes at its end for those who asked for it: the report, the lists of images."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cli.log_file import describe_os_error
from cli.standard_streams import stream_failure
from imageferry.config.failed_rules import rules_to_run_again
from imageferry.report import files
from imageferry.report.outcomes import Report

if TYPE_CHECKING:
    from cli.request import Request


def write_outputs(request: Request, report: Report) -> list[str]:
    """Write all files that were asked for, each by itself; return a problem for each that could not be written."""
    form = request.output_images_format

    def report_file(target: Path) -> None:
        files.write_report(report, target)
        if files.is_standard_output(target) and (error := stream_failure(sys.stdout)):
            raise error

    def copied(target: Path) -> None:
        files.write_copied(report, target, form)

    def failed(target: Path) -> None:
        files.write_text(target, files.format_document(rules_to_run_again(report), form))

    wanted: list[tuple[str, Path | None, Callable[[Path], None]]] = [
        ("--report", request.report, report_file),
        ("--output-success-images", request.output_success_images, copied),
        ("--output-failed-images", request.output_failed_images, failed),
    ]
    problems = []
    for flag, target, write in wanted:
        if target is None:
            continue
        try:
            write(target)
        except (OSError, ValueError) as error:
            problems.append(describe_unwritten(flag, target, error))
    return problems


def describe_unwritten(flag: str, target: Path, error: Exception) -> str:
    """Return the problem of a file that could not be written."""
    return f"{flag} {target} could not be written: {describe_os_error(error)}"
