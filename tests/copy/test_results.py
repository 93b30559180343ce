"""What became of images, as it is recorded."""

import logging
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from imageferry.copy.batches import Batch
from imageferry.copy.errors import DeliveryError
from imageferry.copy.job import CopyJob
from imageferry.copy.results import SELECTIONS_LOGGED, Results
from imageferry.existing_tags import Existing, ExistingTags
from imageferry.model import Rule, Source
from imageferry.patterns import Patterns
from imageferry.reference import Reference
from imageferry.registry.errors import NotFound
from imageferry.report.outcomes import ImageOutcome, Outcome, Outcomes
from imageferry.selection import PlatformFilter
from imageferry.tag_policy import TagPolicy, TagSelection
from tests.copy.test_batches import jobs

SOURCE, NEAR, FAR = (Reference(host, "x/app").at("v1") for host in ("a.example", "b.example", "c.example"))


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes()


def test_a_job_that_is_given_up_has_failed_where_it_was_not_finished(outcomes: Outcomes) -> None:
    job = CopyJob(SOURCE, (NEAR, FAR), PlatformFilter.parse(["linux/arm64"]))
    results = Results(outcomes)
    copied = ImageOutcome(str(SOURCE), str(NEAR), Outcome.COPIED)
    results.finish(job, NEAR, copied)
    assert not job.is_finished
    results.give_up(job, ValueError("a bug"))
    assert job.is_finished
    assert outcomes.images[0] is copied
    assert (outcomes.images[1].destination, outcomes.images[1].error) == (str(FAR), "unexpected ValueError: a bug")
    assert outcomes.retry_platforms == {(str(SOURCE), str(FAR)): ["linux/arm64"]}


def test_each_destination_has_the_error_of_its_own(outcomes: Outcomes) -> None:
    job = CopyJob(SOURCE, (NEAR, FAR), PlatformFilter())
    errors = {str(NEAR): NotFound("read", "near"), str(FAR): NotFound("read", "far")}
    Results(outcomes).give_up(job, DeliveryError("image", errors))
    assert {image.destination: image.error for image in outcomes.images} == {
        name: str(error) for name, error in errors.items()
    }


def test_what_another_run_reports_of_a_batch_is_the_outcome_of_its_images(outcomes: Outcomes) -> None:
    results, batch = Results(outcomes), Batch("rule", 1, 1, tuple(jobs(4)))
    ends = [Outcome.COPIED, Outcome.FAILED, Outcome.UP_TO_DATE]
    reported = [
        ImageOutcome(job.name, str(job.destinations[0]), end, error="why" if end is Outcome.FAILED else None)
        for job, end in zip(batch.jobs, ends, strict=False)
    ]
    stranger = replace(reported[0], source="a.example/x/other:v1")
    results.merge(batch, [*reported, stranger])
    assert outcomes.images == reported
    assert not batch.is_finished
    assert list(outcomes.retry_platforms) == [(reported[1].source, reported[1].destination)]
    # A second run of the batch finds what the first one has copied and could not report.
    last = ImageOutcome(batch.jobs[3].name, str(batch.jobs[3].destinations[0]), Outcome.UP_TO_DATE)
    results.merge(batch, [*reported, last], again=True)
    assert batch.is_finished
    assert outcomes.images == [*reported, replace(last, outcome=Outcome.COPIED)]


def test_what_failed_keeps_what_its_rule_says_of_tags_that_are_there(outcomes: Outcomes) -> None:
    policy = ExistingTags(Existing.KEEP, Patterns.parse(["v*"]))
    given_up, elsewhere = (CopyJob(SOURCE.at(tag), (NEAR.at(tag),), PlatformFilter(), existing=policy) for tag in "ab")
    results = Results(outcomes)
    results.give_up(given_up, ValueError("a bug"))
    failed = ImageOutcome(elsewhere.name, str(NEAR.at("b")), Outcome.FAILED, error="why")
    results.merge(Batch("rule", 1, 1, (elsewhere,)), [failed])
    assert outcomes.retry_options == {
        (str(SOURCE.at(tag)), str(NEAR.at(tag))): {"existing": "keep", "immutable": ("v*",)} for tag in "ab"
    }


def select(*tags: str) -> TagSelection:
    policy = TagPolicy(include=Patterns.parse(["v*"]))
    selection = policy.begin(tags)
    selection.finish({}, datetime.now(UTC))
    return selection


def test_what_a_policy_left_out_is_logged_and_recorded(outcomes: Outcomes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "imageferry")
    rule = Rule("the rule", Source(Reference("a.example", "x/app")), ())
    Results(outcomes).add_selection(rule, select("v1", "w1", "w2"))
    # Nothing was left out: that is in the report alone.
    Results(outcomes).add_selection(rule, select("v1"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "a.example/x/app: 3 tags; include 1: 1 selected"),
        ("DEBUG", "a.example/x/app: dropped by include: w1, w2"),
    ]
    assert [(each.rule, each.listed, each.selected, each.dropped) for each in outcomes.selections] == [
        ("the rule", 3, 1, {"include": 2}),
        ("the rule", 1, 1, {}),
    ]
    assert outcomes.report().choices == outcomes.selections[:1]


def test_ten_thousand_rules_are_not_as_many_lines(outcomes: Outcomes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "imageferry")
    results, selection = Results(outcomes), select("v1", "w1")
    for number in range(10_000):
        results.add_selection(Rule(f"{number}", Source(Reference("a.example", "x/app")), ()), selection)
    assert len(caplog.records) == SELECTIONS_LOGGED + 1
    assert caplog.records[-1].getMessage() == "what further rules choose is logged as debug, and in the report"
    assert len(outcomes.selections) == 10_000
