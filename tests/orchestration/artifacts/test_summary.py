"""The summary that a run's page shows."""

from datetime import UTC, datetime

from imageferry import __version__
from imageferry.report.by_rule import RuleStats
from imageferry.report.outcomes import ImageOutcome, Outcome, Report, Selection, Status, Totals
from orchestration.artifacts.summary import (
    BAR,
    CHOICES_SHOWN,
    FAILURES_LISTED,
    format_bar,
    format_headline,
    format_summary,
)
from tasks.publish_report import _noteworthy


def failed(source: str, error: str = "it is not there") -> ImageOutcome:
    return ImageOutcome(source, source.replace("quay.io", "b.example"), Outcome.FAILED, error=error)


def report(*images: ImageOutcome, **totals: int) -> Report:
    count = sum(image.outcome is Outcome.FAILED for image in images)
    return Report(
        started=datetime.now(UTC),
        seconds=1.5,
        status=Status.FAILED,
        totals=Totals(failed=count, **totals),
        images=list(images),
    )


def text(*figures: RuleStats, **totals: int) -> str:
    images = [image for each in figures for image in each.failures]
    return format_summary(report(*images, **totals), figures, {}, {})


def test_ten_thousand_up_to_date_tags_are_a_number() -> None:
    images = [ImageOutcome(f"quay.io/a:{n}", f"b.example/a:{n}", Outcome.UP_TO_DATE) for n in range(10_000)]
    found = format_summary(report(*images, up_to_date=10_000), [RuleStats("quay.io/a", up_to_date=10_000)], {}, {})
    assert "| up to date | 10,000 |" in found
    assert len(found) < 1_000
    assert f"| Imageferry | {__version__} |" in found


def test_what_failed_comes_first_with_its_cause_and_a_link_to_where() -> None:
    image, other = failed("quay.io/a:v1"), failed("quay.io/a:v2")
    figures = RuleStats("quay.io/a", copied=3, failures=[image, other])
    found = format_summary(
        report(image, other), [figures], {(image.source, image.destination): "task-1"}, {"quay.io/a": "flow-1"}
    )
    lines = found.split("\n")
    assert lines[0] == "## 2 images failed"
    assert "**[quay.io/a](../../runs/flow-run/flow-1)**: 2 of 5 failed" in lines
    assert "- [quay.io/a:v1](../../runs/task-run/task-1) to b.example/a:v1  " in lines
    assert "  it is not there" in lines
    # Of what had no task run, the page of its rule.
    assert "- [quay.io/a:v2](../../runs/flow-run/flow-1) to b.example/a:v2  " in lines


def test_the_rule_with_most_failures_comes_first_and_the_rest_is_a_number() -> None:
    few = RuleStats("quay.io/few", failures=[failed("quay.io/few:v1")])
    many = RuleStats("quay.io/many", failures=[failed(f"quay.io/many:v{n}") for n in range(FAILURES_LISTED + 20)])
    found = text(few, many)
    assert found.index("**quay.io/many**") < found.index("and 21 more: see the report")
    assert "quay.io/few:v1" not in found
    assert found.count("\n- ") == FAILURES_LISTED


def test_text_of_a_registry_is_no_markup() -> None:
    found = text(RuleStats("quay.io/a", failures=[failed("quay.io/a:v1", "<img src=x> [a](http://b) | `c`\n# d")]))
    assert r"  ``<img src=x> [a](http://b) | `c`\n# d``" in found.split("\n")


def test_rules_that_had_work_are_shown_side_by_side() -> None:
    small = RuleStats("quay.io/small", copied=1, bytes=500_000, seconds=8.0)
    large = RuleStats("quay.io/large", copied=2, bytes=1_000_000, seconds=2.0)
    found = text(small, large, RuleStats("quay.io/idle", up_to_date=5))
    assert found.index("quay.io/large: 2 copied") < found.index("quay.io/small: 1 copied")
    assert f"1.0 MB {'█' * BAR}\n" in found
    assert f"500 kB {'█' * (BAR // 2)}\n" in found
    assert "quay.io/idle" not in found
    assert "side" not in text(small)


def test_a_bar_is_exact_to_an_eighth() -> None:
    assert [format_bar(value, 8 * BAR) for value in (0, 1, 8, 12, 8 * BAR)] == ["", "▏", "█", "█▌", "█" * BAR]
    assert format_bar(0, 0) == ""


def test_the_headline_begins_with_what_failed() -> None:
    assert format_headline(report(failed("quay.io/a:v1"))).startswith("**1 failed**")
    assert format_headline(report(copied=2)).startswith("2 copied")


def test_images_with_a_warning_are_listed() -> None:
    images = [
        ImageOutcome(f"quay.io/a:{n}", f"b.example/a:{n}", Outcome.COPIED, warning="b.example stored *it*")
        for n in range(FAILURES_LISTED + 3)
    ]
    lines = format_summary(report(*images), [], {}, {}).split("\n")
    assert lines[:4] == [
        f"## {FAILURES_LISTED + 3} images with a warning",
        "",
        "- quay.io/a:0 to b.example/a:0  ",
        "  `b.example stored *it*`",
    ]
    assert "and 3 more: see the report" in lines
    assert format_summary(report(), [], {}, {}).startswith("## Images")


def test_ten_thousand_kept_tags_are_a_number() -> None:
    images = [ImageOutcome(f"quay.io/a:{n}", f"b.example/a:{n}", Outcome.KEPT) for n in range(10_000)]
    kept = report(*images, kept=10_000)
    found = format_summary(kept, [RuleStats("quay.io/a", kept=10_000)], {}, {})
    assert "| kept as they were | 10,000 |" in found
    assert len(found) < 1_000
    assert _noteworthy(kept) == []
    assert "kept" not in format_summary(report(up_to_date=1), [], {}, {})


def test_what_rules_choose_is_a_line_each_and_not_of_ten_thousand() -> None:
    made = report(up_to_date=1)
    made.selections.append(Selection("r", "a.example/all", 3, 3, {}, lines=("a.example/all: 3 tags: 3 selected",)))
    assert "## Tags that rules choose" not in format_summary(made, [], {}, {})
    for number in range(10_000):
        lines = (f"a.example/{number}: 3 tags; include 1: 1 selected", "dropped as no version: 1 (<b>)")
        made.selections.append(Selection("r", f"a.example/{number}", 3, 1, {"include": 2}, lines=lines))
    found = format_summary(made, [], {}, {})
    assert found.count("selected; dropped as no version") == CHOICES_SHOWN
    assert "1 (<b>)`\n" in found
    assert found.endswith(f"and {10_000 - CHOICES_SHOWN:,} more rules: see the report")
    assert len(found) < 4_000
