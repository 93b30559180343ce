"""A run's report as Markdown, as Prefect's UI shows it: what failed first, each with a link to where it did."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from imageferry import words
from imageferry.figures import RuleFigures
from imageferry.report import ImageOutcome, Report

#: Failures that are told one by one, and rules that are shown side by side; the report file has all.
FAILURES = 100
RULES = 20

#: Characters of the longest bar.
BAR = 32

#: The task run in which an image failed, by source and destination, and the flow run of a rule.
TaskRuns = Mapping[tuple[str, str], str]
FlowRuns = Mapping[str, str]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&$^])")


def summary(report: Report, figures: Iterable[RuleFigures], task_runs: TaskRuns, flow_runs: FlowRuns) -> str:
    """Give the summary: each failure with its cause, the counts, and the rules that had work."""
    figures = list(figures)
    failed = sorted((each for each in figures if each.failures), key=lambda each: -each.failed)
    lines = _failures(report, failed, task_runs, flow_runs) if failed else []
    lines += ["## Images", "", *_counts(report)]
    worked = [each for each in figures if each.bytes or each.copied or each.failed]
    if len(worked) > 1:
        lines += ["", "## Rules that had work", "", *_rules(worked)]
    return "\n".join(lines)


def headline(report: Report) -> str:
    """Give the counts in one line, what failed first: a run's page shows the beginning of it."""
    failed = report.totals.failed
    return f"**{failed:,} failed**: {report.summary}" if failed else report.summary


def _failures(report: Report, failed: list[RuleFigures], task_runs: TaskRuns, flow_runs: FlowRuns) -> list[str]:
    lines = [f"## {words.count(report.totals.failed, 'image')} failed", ""]
    told = 0
    for each in failed:
        if told == FAILURES:
            break
        if len(failed) > 1 or each.images > 1:
            name = _linked(each.rule, "flow-run", flow_runs.get(each.rule))
            lines += [f"**{name}**: {each.failed:,} of {each.images:,} failed", ""]
        some = each.failures[: FAILURES - told]
        lines += [*(_failure(image, task_runs, flow_runs.get(each.rule)) for image in some), ""]
        told += len(some)
    if report.totals.failed > told:
        lines += [f"and {report.totals.failed - told:,} more: see the report", ""]
    return lines


def _failure(image: ImageOutcome, task_runs: TaskRuns, flow_run: str | None) -> str:
    task_run = task_runs.get((image.source, image.destination))
    name = _linked(image.source, "task-run", task_run) if task_run else _linked(image.source, "flow-run", flow_run)
    return f"- {name} to {escaped(image.destination)}  \n  {escaped(image.error or '')}"


def _counts(report: Report) -> list[str]:
    totals = report.totals
    rows = [("copied", f"{totals.copied:,}")]
    if totals.would_copy:
        rows = [("would be copied", f"{totals.would_copy:,}")]
    rows += [
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
    return ["| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows)]


def _rules(worked: list[RuleFigures]) -> list[str]:
    """Give the rules side by side, those that sent most first; in a block, which is scrolled where a name is long."""
    worked = sorted(worked, key=lambda each: (-each.bytes, -each.seconds))
    most_bytes = max(each.bytes for each in worked)
    longest = max(each.seconds for each in worked)
    lines = ["```text"]
    for each in worked[:RULES]:
        failed = f", {each.failed:,} failed" if each.failed else ""
        lines += [
            f"{words.printable(each.rule).replace('`', ' ')}: {each.copied:,} copied{failed}",
            f"{words.size(each.bytes):>12} {bar(each.bytes, most_bytes)}",
            f"{words.duration(each.seconds):>12} {bar(each.seconds, longest)}",
        ]
    lines.append("```")
    if len(worked) > RULES:
        lines += ["", f"and {words.count(len(worked) - RULES, 'more rule', 'more rules')}"]
    return lines


def bar(value: float, most: float) -> str:
    """Give a bar of block characters, an eighth of one exact; ``most`` has the longest."""
    eighths = round(8 * BAR * value / most) if most else 0
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def escaped(text: str) -> str:
    """Give foreign text so that Markdown and HTML leave it as it is."""
    return _SPECIAL.sub(r"\\\1", words.printable(text))


def _linked(text: str, kind: str, identity: str | None) -> str:
    # Relative, as no process knows under which address a person sees the UI; all its pages lie as deep as this one.
    return f"[{escaped(text)}](../../runs/{kind}/{identity})" if identity else escaped(text)
