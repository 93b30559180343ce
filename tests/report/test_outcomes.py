"""The totals of a run, and its report as it is written to a file."""

from __future__ import annotations

import json

import pytest

from imageferry.report.by_rule import RuleStats
from imageferry.report.outcomes import ImageOutcome, Outcome, Outcomes, Selection, Status, Totals


def image(outcome: Outcome, number: int = 1) -> ImageOutcome:
    return ImageOutcome(f"a.example/x:v{number}", f"b.example/x:v{number}", outcome)


@pytest.mark.parametrize("outcome", Outcome)
def test_each_outcome_is_counted_under_its_name(outcome: Outcome) -> None:
    totals, stats = Totals(), RuleStats("a.example/x")
    for _ in range(2):
        totals.count(outcome)
        stats.add(image(outcome))
    assert totals == Totals.model_validate({outcome.value: 2})
    assert {each: getattr(stats, each) for each in Outcome} == {each: 2 * (each is outcome) for each in Outcome}
    assert stats.images == 2


def test_what_was_kept_is_in_the_summary_where_something_was() -> None:
    outcomes = Outcomes()
    outcomes.add(image(Outcome.UP_TO_DATE))
    assert outcomes.report().summary.startswith("0 copied, 1 up to date, 0 skipped, 0 failed; ")
    outcomes.add(image(Outcome.KEPT))
    report = outcomes.report()
    assert report.summary.startswith("0 copied, 1 up to date, 1 kept, 0 skipped, 0 failed; ")
    assert report.status is Status.COMPLETED
    assert json.loads(report.to_json())["totals"]["kept"] == 1
    assert "retry_options" not in report.to_json()


def test_a_transfer_adds_bytes_and_blobs_and_no_images() -> None:
    totals = Totals(copied=1, bytes_read=10, blobs_mounted=1)
    other = Totals(copied=5, failed=1, bytes_read=1, bytes_written=2, blobs_copied=3, blobs_mounted=4, blobs_present=5)
    totals.add_transfer(other)
    assert totals == Totals(copied=1, bytes_read=11, bytes_written=2, blobs_copied=3, blobs_mounted=5, blobs_present=5)


def test_the_status_follows_from_the_failures_unless_it_is_given() -> None:
    outcomes = Outcomes()
    assert outcomes.report().status is Status.COMPLETED
    outcomes.add(image(Outcome.FAILED))
    assert outcomes.report().status is Status.FAILED
    assert outcomes.report(Status.CANCELLED).status is Status.CANCELLED


def test_the_report_as_json() -> None:
    outcomes = Outcomes()
    outcomes.add(image(Outcome.COPIED))
    outcomes.retry_platforms["a", "b"] = ["linux/amd64"]
    found = json.loads(outcomes.report(run_id="f1d0").to_json())
    assert list(found) == ["flow_run_id", "started", "seconds", "status", "totals", "images", "notes"]
    assert (found["flow_run_id"], found["status"], found["totals"]["copied"]) == ("f1d0", "completed", 1)
    assert found["images"][0]["outcome"] == "copied"
    assert json.loads(outcomes.report().to_json())["flow_run_id"] is None


def test_listeners_are_called_with_each_outcome() -> None:
    outcomes, heard = Outcomes(), list[ImageOutcome]()
    outcomes.listeners.append(heard.append)
    outcomes.add(image(Outcome.COPIED))
    outcomes.add(image(Outcome.FAILED, 2))
    assert heard == outcomes.images
    assert outcomes.failures == heard[1:]


def test_a_warning_is_in_the_report_of_the_image_that_has_one() -> None:
    outcomes = Outcomes()
    outcomes.add(ImageOutcome("a.example/a:1", "b.example/a:1", Outcome.COPIED))
    outcomes.add(ImageOutcome("a.example/a:2", "b.example/a:2", Outcome.COPIED, warning="stored as another"))
    report = outcomes.report()
    first, second = json.loads(report.to_json())["images"]
    assert "warning" not in first
    assert second["warning"] == "stored as another"
    assert [image.destination for image in report.warnings] == ["b.example/a:2"]


def test_what_policies_chose_is_in_the_report_where_there_are_any() -> None:
    outcomes = Outcomes()
    assert "selections" not in json.loads(outcomes.report().to_json())
    outcomes.selections += [
        Selection("a.example/x", "a.example/x", 1204, 13, {"exclude": 209, "newest": 982}, lines=("a line",)),
        Selection("a.example/y", "a.example/y", 2, 2, {}, undated=1),
    ]
    assert json.loads(outcomes.report().to_json())["selections"] == [
        {
            "rule": "a.example/x",
            "repository": "a.example/x",
            "listed": 1204,
            "selected": 13,
            "dropped": {"exclude": 209, "newest": 982},
        },
        {"rule": "a.example/y", "repository": "a.example/y", "listed": 2, "selected": 2, "dropped": {}, "undated": 1},
    ]
