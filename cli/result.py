"""What a run on the command line leaves."""

from __future__ import annotations

from dataclasses import dataclass

from imageferry.report.outcomes import Report


@dataclass(frozen=True)
class RunResult:
    """The report of a run, and in words what Prefect has not recorded of it; empty where it has all."""

    report: Report
    missing: str = ""
