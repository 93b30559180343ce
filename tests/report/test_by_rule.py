"""Which rule an image belongs to, and the figures of each."""

import json
from typing import Any

from imageferry.config import load_text
from imageferry.model import Configuration
from imageferry.report.by_rule import stats_by_rule
from imageferry.report.outcomes import ImageOutcome, Outcome

DIGEST = "sha256:" + "a" * 64


def read(images: Any) -> Configuration:
    return load_text(json.dumps({"images": images}), "c.json", environment={})


def owners(images: Any, *outcomes: tuple[str, str]) -> list[str]:
    """Give the rule of each pair of source and destination."""
    rules = read(images).rules
    return [stats_by_rule([ImageOutcome(*pair, outcome=Outcome.COPIED)], rules)[0].rule for pair in outcomes]


def test_an_image_belongs_to_the_rule_of_its_two_repositories() -> None:
    images = {
        "quay.io/a/app": "b.example:5000/a/app",
        "quay.io/a/app:v1": "b.example:5000/pinned/app:stable",
        "alpine:3.20": ["b.example/alpine", "c.example/alpine"],
        f"quay.io/a/app@{DIGEST}": "b.example/digests/app",
    }
    assert owners(
        images,
        ("quay.io/a/app:v1", "b.example:5000/a/app:v1"),
        ("quay.io/a/app:v1", "b.example:5000/pinned/app:stable"),
        ("docker.io/library/alpine:3.20", "c.example/alpine:3.20"),
        (f"quay.io/a/app@{DIGEST}", f"b.example/digests/app@{DIGEST}"),
    ) == list(images)


def test_of_rules_between_the_same_repositories_the_one_that_takes_the_tag() -> None:
    images = {
        "quay.io/a/app:v1,v2": "b.example/a/app",
        "quay.io/a/app:/^v3/": "b.example/a/app",
    }
    found = owners(images, ("quay.io/a/app:v3.1", "b.example/a/app:v3.1"), ("quay.io/a/app:v2", "b.example/a/app:v2"))
    assert found == ["quay.io/a/app:/^v3/", "quay.io/a/app:v1,v2"]


def test_a_rule_without_a_plan_is_found_by_its_own_words() -> None:
    assert owners({"alpine:/^3/": "b.example/alpine"}, ("alpine:/^3/", "b.example/alpine")) == ["alpine:/^3/"]


def test_the_figures_of_each_rule_in_the_order_of_the_rules() -> None:
    rules = read({"quay.io/a/one": "b.example/one", "quay.io/a/two": "b.example/two"}).rules
    images = [
        ImageOutcome("quay.io/a/two:v1", "b.example/two:v1", Outcome.FAILED, error="no"),
        ImageOutcome("quay.io/a/one:v1", "b.example/one:v1", Outcome.COPIED, bytes=5),
        ImageOutcome("quay.io/a/one:v2", "b.example/one:v2", Outcome.COPIED, bytes=7),
        ImageOutcome("quay.io/a/one:v3", "b.example/one:v3", Outcome.UP_TO_DATE),
    ]
    one, two = stats_by_rule(images, rules)
    assert (one.rule, one.copied, one.up_to_date, one.failed, one.images, one.bytes) == (
        "quay.io/a/one",
        2,
        1,
        0,
        3,
        12,
    )
    assert (two.rule, two.failed, two.images, two.failures) == ("quay.io/a/two", 1, 1, images[:1])
