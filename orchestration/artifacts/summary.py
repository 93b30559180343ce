"""A run's report as Markdown, as Prefect's UI shows it: what failed first, each with a link to where it did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from imageferry import __version__
from imageferry.report.by_rule import RuleStats
from imageferry.report.outcomes import ImageOutcome, Report, Selection
from imageferry.text import escape_control, format_count, format_duration, format_size
from orchestration.artifacts.markup import quote_markup

# Failures that are listed one by one, and rules that are shown side by side; the report file has all.
FAILURES_LISTED = 100
RULES_SHOWN = 20

# Rules whose choice of tags is described.
CHOICES_SHOWN = 20

# Characters of the longest bar.
BAR = 32

# The task run in which an image failed, by source and destination, and the flow run of a rule.
TaskRuns = Mapping[tuple[str, str], str]
FlowRuns = Mapping[str, str]


def format_summary(report: Report, figures: Iterable[RuleStats], task_runs: TaskRuns, flow_runs: FlowRuns) -> str:
    """Return the summary: each failure with its cause, the counts, and the rules that had work."""
    figures = list(figures)
    failed = sorted((each for each in figures if each.failures), key=lambda each: -each.failed)
    lines = _failures(report, failed, task_runs, flow_runs) if failed else []
    lines += _warnings(report.warnings)
    lines += ["## Images", "", *_counts(report)]
    worked = [each for each in figures if each.bytes or each.copied or each.failed]
    if len(worked) > 1:
        lines += ["", "## Rules that had work", "", *_rules(worked)]
    lines += _choices(report.choices)
    return "\n".join(lines)


def format_headline(report: Report) -> str:
    """Return the counts in one line, what failed first: a run's page shows the beginning of it."""
    failed = report.totals.failed
    return f"**{failed:,} failed**: {report.summary}" if failed else report.summary


def _failures(report: Report, failed: list[RuleStats], task_runs: TaskRuns, flow_runs: FlowRuns) -> list[str]:
    lines = [f"## {format_count(report.totals.failed, 'image')} failed", ""]
    listed = 0
    for each in failed:
        if listed == FAILURES_LISTED:
            break
        if len(failed) > 1 or each.images > 1:
            name = _linked(each.rule, "flow-run", flow_runs.get(each.rule))
            lines += [f"**{name}**: {each.failed:,} of {each.images:,} failed", ""]
        some = each.failures[: FAILURES_LISTED - listed]
        lines += [*(_failure(image, task_runs, flow_runs.get(each.rule)) for image in some), ""]
        listed += len(some)
    if report.totals.failed > listed:
        lines += [f"and {report.totals.failed - listed:,} more: see the report", ""]
    return lines


def _failure(image: ImageOutcome, task_runs: TaskRuns, flow_run: str | None) -> str:
    task_run = task_runs.get((image.source, image.destination))
    name = _linked(image.source, "task-run", task_run) if task_run else _linked(image.source, "flow-run", flow_run)
    return f"- {name} to {quote_markup(image.destination)}  \n  {quote_markup(image.error or '')}"


def _warnings(images: list[ImageOutcome]) -> list[str]:
    """Return the images that are there with another digest than at the source."""
    if not images:
        return []
    lines = [f"## {format_count(len(images), 'image')} with a warning", ""]
    lines += [
        f"- {quote_markup(image.source)} to {quote_markup(image.destination)}  \n  {quote_markup(image.warning or '')}"
        for image in images[:FAILURES_LISTED]
    ]
    if len(images) > FAILURES_LISTED:
        lines += ["", f"and {len(images) - FAILURES_LISTED:,} more: see the report"]
    return [*lines, ""]


def _choices(choices: list[Selection]) -> list[str]:
    """Return a line a rule whose tag policy left tags out."""
    if not choices:
        return []
    lines = ["", "## Tags that rules choose", ""]
    lines += [f"- {quote_markup('; '.join(choice.lines))}" for choice in choices[:CHOICES_SHOWN]]
    if (rest := len(choices) - CHOICES_SHOWN) > 0:
        lines += ["", f"and {format_count(rest, 'more rule', 'more rules')}: see the report"]
    return lines


def _counts(report: Report) -> list[str]:
    totals = report.totals
    rows = [("copied", f"{totals.copied:,}")]
    if totals.would_copy:
        rows = [("would be copied", f"{totals.would_copy:,}")]
    rows += [
        ("up to date", f"{totals.up_to_date:,}"),
        *([("kept as they were", f"{totals.kept:,}")] if totals.kept else []),
        ("skipped by a filter", f"{totals.skipped:,}"),
        ("failed", f"{totals.failed:,}"),
        ("read", format_size(totals.bytes_read)),
        ("sent", format_size(totals.bytes_written)),
        (
            "blobs copied / mounted / already there",
            f"{totals.blobs_copied:,} / {totals.blobs_mounted:,} / {totals.blobs_present:,}",
        ),
        ("time", format_duration(report.seconds)),
        ("Imageferry", __version__),
    ]
    return ["| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows)]


def _rules(worked: list[RuleStats]) -> list[str]:
    """Return the rules side by side, those that sent most first; in a block, which is scrolled where a name is long."""
    worked = sorted(worked, key=lambda each: (-each.bytes, -each.seconds))
    most_bytes = max(each.bytes for each in worked)
    longest = max(each.seconds for each in worked)
    lines = ["```text"]
    for each in worked[:RULES_SHOWN]:
        failed = f", {each.failed:,} failed" if each.failed else ""
        lines += [
            f"{escape_control(each.rule).replace('`', ' ')}: {each.copied:,} copied{failed}",
            f"{format_size(each.bytes):>12} {format_bar(each.bytes, most_bytes)}",
            f"{format_duration(each.seconds):>12} {format_bar(each.seconds, longest)}",
        ]
    lines.append("```")
    if len(worked) > RULES_SHOWN:
        lines += ["", f"and {format_count(len(worked) - RULES_SHOWN, 'more rule', 'more rules')}"]
    return lines


def format_bar(value: float, most: float) -> str:
    """Return a bar of block characters, an eighth of one exact; ``most`` has the longest."""
    eighths = round(8 * BAR * value / most) if most else 0
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _linked(text: str, kind: str, identity: str | None) -> str:
    # Relative, as no process knows under which address a person sees the UI; all its pages lie as deep as this one.
    return f"[{quote_markup(text)}](../../runs/{kind}/{identity})" if identity else quote_markup(text)
