"""The keys of the rules' tables, their rows, and for which rules there is one."""

import re
from datetime import UTC, datetime

from imageferry.report.by_rule import RuleStats
from imageferry.report.outcomes import ImageOutcome, Outcome, Report, Status, Totals
from orchestration.artifacts.rule_history import artifact_key, history_row, publish_rule_history

RULES = ["quay.io/a/app", "quay.io/a/app:v1,v2", "quay.io/a/app:/^v1|v2$/", "quay.io/a-app", "x" * 300, "/", "é"]


def test_every_rule_has_a_key_of_its_own_that_prefect_takes() -> None:
    keys = [artifact_key(rule) for rule in RULES]
    assert len(set(keys)) == len(RULES)
    assert all(re.fullmatch(r"[a-z0-9]+(-+[a-z0-9]+)*", each) and len(each) < 80 for each in keys), keys
    # Stable: it is the name under which the history is found.
    assert artifact_key("quay.io/a/app:v1,v2") == "rule-quay-io-a-app-v1-v2-5b9ba1f0"


def test_a_row_has_the_figures_of_a_run() -> None:
    failed = ImageOutcome("quay.io/a:v2", "b.example/a:v2", Outcome.FAILED, error="it is not there")
    figures = RuleStats("quay.io/a", copied=2, up_to_date=1_200, bytes=5_000_000, seconds=3.2, failures=[failed])
    started = datetime(2026, 1, 5, 2, 0, 3, tzinfo=UTC)
    report = Report(started=started, seconds=9.0, status=Status.FAILED, totals=Totals(), images=[failed])
    assert history_row(report, figures) == {
        "run": "2026-01-05 02:00",
        "copied": "2",
        "up to date": "1,200",
        "skipped": "0",
        "failed": "1",
        "sent": "5.0 MB",
        "time": "3.2 s",
        "first failure": "quay.io/a:v2: it is not there",
    }


def test_a_failure_in_a_row_is_no_markup() -> None:
    failed = ImageOutcome("quay.io/a:v2", "b.example/a:v2", Outcome.FAILED, error="[run](javascript:alert(1))")
    report = Report(started=datetime.now(UTC), seconds=9.0, status=Status.FAILED, totals=Totals(), images=[failed])
    row = history_row(report, RuleStats("quay.io/a", failures=[failed]))
    assert row["first failure"] == "`quay.io/a:v2: [run](javascript:alert(1))`"


async def test_rules_that_are_up_to_date_cost_no_request() -> None:
    report = Report(started=datetime.now(UTC), seconds=9.0, status=Status.COMPLETED, totals=Totals(), images=[])
    idle = [RuleStats(f"quay.io/a{number}", up_to_date=20, skipped=1) for number in range(500)]
    # There is no server: a request would fail.
    await publish_rule_history(report, idle, {})
