"""The tags of a flow run."""

import json
from collections.abc import Mapping

from imageferry.config import load_text
from orchestration.artifacts.run_tags import MOST, registry_tags


def tags(images: Mapping[str, object]) -> list[str]:
    return registry_tags(load_text(json.dumps({"images": images}), "c.json", environment={}).rules)


def test_they_are_the_hosts_of_sources_and_destinations() -> None:
    images = {"alpine:3.20": ["b.example:5000/alpine", "quay.io/mirror/alpine"], "quay.io/a/app": "b.example:5000/app"}
    assert tags(images) == ["b.example:5000", "docker.io", "quay.io"]


def test_of_many_hosts_those_that_most_rules_name() -> None:
    images: dict[str, object] = {f"h{number:03}.example/app": f"b.example/h{number}" for number in range(100)}
    images["quay.io/a/one"], images["quay.io/a/two"] = "b.example/one", "b.example/two"
    found = tags(images)
    assert len(found) == MOST
    assert {"b.example", "quay.io", "h000.example"} <= set(found)
