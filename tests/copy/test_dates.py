"""When images were made, for policies that choose tags by age: what they say of themselves, and what that costs."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from testkit.registries import actions
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured, outcomes, run
from tests.copy.test_listing import Choosing, choosing
from tests.copy.test_upstream import run_side_by_side

__all__ = ["choosing"]


@pytest.fixture
def dated(choosing: Choosing) -> Choosing:
    """Tags by the days since they were made; `old` and `2.0` are one image, `none` says nothing, `zero` 1970."""
    ages = {"1.0": 400, "2.0": 200, "3.0": 5}
    for tag, days in ages.items():
        image(choosing.source, tag, (datetime.now(UTC) - timedelta(days=days)).isoformat())
    image(choosing.source, "zero", "1970-01-01T00:00:00Z")
    image(choosing.source, "none", None)
    choosing.source.tag("a/app", "old", "2.0")
    choosing.source.clear_log()
    return choosing


def image(registry: FakeRegistry, tag: str | None, created: str | None, **more: Any) -> str:
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "of": tag, **({"created": created} if created else {})}
    )
    digest = registry.add_blob("a/app", config.encode())
    described = {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": digest,
        "size": len(config),
    }
    media_type = "application/vnd.oci.image.manifest.v1+json"
    document = {"schemaVersion": 2, "mediaType": media_type, "config": described, "layers": [], **more}
    return registry.add_manifest("a/app", tag, json.dumps(document).encode(), media_type)


async def test_what_is_too_old_is_left_out_and_what_has_no_date_is_taken(dated: Choosing) -> None:
    report = await run(dated.text({"max_age": "30d"}))
    assert dated.held() == ["3.0", "none", "zero"]
    (selection,) = report.selections
    assert (selection.dropped, selection.undated) == ({"max_age": 3}, 2)
    assert selection.lines == (f"{dated.repository}: 6 tags; max_age 3: 3 selected (2 without a date)",)


async def test_the_newest_by_date(dated: Choosing) -> None:
    dry = await run(dated.text({"exclude": ["none", "zero"], "newest": {"tags": 1, "by": "date"}}), dry_run=True)
    assert set(outcomes(dry)) == {f"{dated.to}:3.0"}


async def test_a_date_costs_two_requests_of_what_is_left_and_a_digest_is_asked_once(dated: Choosing) -> None:
    await run(dated.text({"include": ["2.0", "old", "3.0"], "max_age": "30d"}), dry_run=True)
    # 2.0 and old are one image: its config is read once.
    assert (dated.source.count("manifest-get"), dated.source.count("blob-get")) == (3, 2)


@pytest.mark.parametrize("tags", [{"include": ["9*"], "max_age": "30d"}, {"newest": {"tags": 9, "by": "date"}}])
async def test_no_date_is_asked_for_that_decides_nothing(dated: Choosing, tags: Any) -> None:
    await run(dated.text(tags), dry_run=True)
    assert (dated.source.count("manifest-get"), dated.source.count("blob-get")) == (0, 0)


async def test_an_index_is_as_old_as_its_first_image(dated: Choosing) -> None:
    source = dated.source
    attestation = image(source, None, None, annotations={"of": "attestation"})
    child = image(source, None, (datetime.now(UTC) - timedelta(days=90)).isoformat())
    source.index("a/app", "index", {"unknown/unknown": attestation, "linux/amd64": child})
    source.index("a/app", "index2", {"linux/amd64": child, "linux/arm64": attestation})
    source.clear_log()
    await run(dated.text({"include": ["index*", "3.0"], "max_age": "30d"}), dry_run=True)
    # The two indexes, their child once, and 3.0.
    assert (source.count("manifest-get"), source.count("blob-get")) == (4, 2)
    assert set(outcomes(await run(dated.text({"include": ["index*"], "max_age": "100d"})))) == {
        f"{dated.to}:index",
        f"{dated.to}:index2",
    }


async def test_an_artifact_says_it_in_an_annotation(dated: Choosing) -> None:
    created = {"org.opencontainers.image.created": "2020-01-01T00:00:00Z"}
    image(dated.source, "chart", None, annotations=created)
    report = await run(dated.text({"include": ["chart"], "max_age": "30d"}))
    assert report.selections[0].dropped == {"include": 6, "max_age": 1}


async def test_a_damaged_image_is_taken_and_fails_by_itself(dated: Choosing) -> None:
    dated.source.add_manifest("a/app", "3.1", b"{}", "application/vnd.oci.image.index.v1+json")
    dated.source.add_manifest("a/app", "3.2", b"[1", "application/vnd.oci.image.manifest.v1+json")
    report = await run(dated.text({"include": ["3.*"], "max_age": "30d"}))
    assert report.selections[0].undated == 2
    assert outcomes(report)[f"{dated.to}:3.0"] == "copied"
    assert outcomes(report)[f"{dated.to}:3.2"] == "failed"


async def test_a_registry_that_does_not_tell_fails_the_rule(dated: Choosing) -> None:
    """Else every old tag would be copied, since none of them has a date."""
    dated.source.rules.append(Fault("blob-get", actions.respond(403)))
    report = await run(dated.text({"max_age": "30d"}))
    assert list(outcomes(report).values()) == ["failed"]
    assert dated.held() == []


async def test_a_dry_run_knows_the_dates_of_what_would_be_there(dated: Choosing) -> None:
    stage = f"{dated.destination.host}/stage/app"
    images = [
        {"from": dated.repository, "to": stage},
        {"from": stage, "to": dated.to, "tags": {"max_age": "30d", "include": ["?.0"]}},
    ]
    text = configured(images, dated.source, dated.destination)
    dry = await run_side_by_side(text, dry_run=True)
    assert {each for each in outcomes(dry) if each.startswith(dated.to)} == {f"{dated.to}:3.0"}
    await run_side_by_side(text)
    assert dated.held() == ["3.0"]
