"""Tags that are at the destination already: followed, kept, or a failure where their content is another."""

from typing import Any

import pytest

from imageferry.copy.existing import find_kept
from imageferry.existing_tags import Existing, ExistingTags
from imageferry.reference import Reference
from imageferry.report.outcomes import Report
from testkit.images.raw import push_nested_index
from testkit.registries import actions
from testkit.registries.distribution import DistributionRegistry
from testkit.registries.exchange import Reply
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.quirks import Quirks
from tests.copy.running import AnyRegistry, configured, errors, outcomes, run
from tests.copy.test_requests import counts
from tests.registry.opening import opened

KEEPING: list[dict[str, Any]] = [{"existing": "keep"}, {"existing": "fail", "immutable": ["/^v/"]}]


def entry(source: AnyRegistry, destination: AnyRegistry, tags: str = "", **keys: Any) -> str:
    """Write a configuration of one rule with these keys."""
    rule = {"from": f"{source.host}/a/app{tags}", "to": f"{destination.host}/a/app", **keys}
    return configured([rule], source, destination)


def fill(registry: FakeRegistry, count: int) -> None:
    """Give the repository so many tags."""
    registry.image("a/app", "v0")
    for number in range(1, count):
        registry.tag("a/app", f"v{number}", "v0")


def forget(*registries: FakeRegistry | DistributionRegistry) -> None:
    for registry in registries:
        registry.clear_log()


def by_tag(report: Report) -> dict[str, str]:
    return {name.rpartition(":")[2]: outcome for name, outcome in outcomes(report).items()}


@pytest.mark.parametrize(
    ("keys", "outcome", "follows"),
    [
        ({}, "copied", True),
        ({"existing": "update"}, "copied", True),
        ({"existing": "keep"}, "kept", False),
        ({"existing": "fail"}, "failed", False),
        ({"immutable": ["v*"]}, "kept", False),
        ({"immutable": ["w*"]}, "copied", True),
        ({"existing": "fail", "immutable": ["v*"]}, "kept", False),
    ],
)
@pytest.mark.parametrize("tags", ["", ":v1,v2"])
async def test_a_tag_that_was_moved_upstream(
    fake_source: FakeRegistry,
    fake_destination: FakeRegistry,
    keys: dict[str, Any],
    outcome: str,
    follows: bool,
    tags: str,
) -> None:
    for number in range(1, 5):
        fake_source.image("a/app", f"v{number}", [bytes([number])])
    text = entry(fake_source, fake_destination, tags, **keys)
    first = await run(text)
    assert set(outcomes(first).values()) == {"copied"}
    there = fake_destination.digest("a/app", "v1")
    here = fake_source.image("a/app", "v1", [b"moved"])
    for dry_run in (True, False):
        report = await run(text, dry_run=dry_run)
        expected = "would_copy" if dry_run and outcome == "copied" else outcome
        others = "kept" if outcome == "kept" else "up_to_date"
        assert by_tag(report) == dict.fromkeys(by_tag(first), others) | {"v1": expected}
        assert report.status == ("failed" if outcome == "failed" else "completed")
    assert fake_destination.digest("a/app", "v1") == (here if follows else there)
    if outcome == "failed":
        name = f"{fake_destination.host}/a/app:v1"
        assert errors(report) == {name: f"v1 is there with other content ({there}, here {here})"}


@pytest.mark.parametrize("keys", KEEPING)
async def test_what_is_kept_costs_a_list_a_side(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, keys: dict[str, Any]
) -> None:
    for registry in (fake_source, fake_destination):
        registry.quirks.page_size = 500
        fill(registry, 1100)
    for dry_run in (True, False):
        forget(fake_source, fake_destination)
        report = await run(entry(fake_source, fake_destination, **keys), dry_run=dry_run)
        assert (report.totals.kept, len(report.images)) == (1100, 1100)
        assert counts(fake_source) == counts(fake_destination) == {"tags": 3}
    assert report.summary.startswith("0 copied, 0 up to date, 1,100 kept, 0 skipped, 0 failed; nothing sent")


async def test_between_real_registries(
    source_registry: DistributionRegistry, destination_registry: DistributionRegistry, repository: str
) -> None:
    for number in range(5):
        push_nested_index(source_registry.host, repository, f"v{number}")
    rule = {"from": f"{source_registry.host}/{repository}", "to": f"{destination_registry.host}/{repository}"}
    text = configured([rule | {"existing": "keep"}], source_registry, destination_registry)
    assert set(outcomes(await run(text)).values()) == {"copied"}
    push_nested_index(source_registry.host, repository, "v5")
    forget(source_registry, destination_registry)
    assert sorted(by_tag(await run(text)).items()) == [*((f"v{each}", "kept") for each in range(5)), ("v5", "copied")]
    # Only the tag that is new is looked up, just before it is put.
    looked_up = [each.path for each in destination_registry.requests() if each.kind == "manifest-head"]
    assert [path for path in looked_up if "/manifests/v" in path] == [f"/v2/{repository}/manifests/v5"]
    forget(source_registry, destination_registry)
    assert (await run(text)).totals.kept == 6
    assert counts(source_registry) == counts(destination_registry) == {"tags": 1}


@pytest.mark.parametrize(("tags", "asked"), [(":v0", {"manifest-head": 1}), (":v0,v1,v2", {"manifest-head": 3})])
async def test_few_tags_are_looked_up_at_the_destination_alone(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, tags: str, asked: dict[str, int]
) -> None:
    fill(fake_source, 3)
    fill(fake_destination, 3)
    forget(fake_source, fake_destination)
    assert set(outcomes(await run(entry(fake_source, fake_destination, tags, existing="keep"))).values()) == {"kept"}
    assert counts(fake_source) == {}
    assert counts(fake_destination) == asked


async def test_four_tags_that_are_named_are_listed(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    fill(fake_source, 4)
    fill(fake_destination, 4)
    forget(fake_source, fake_destination)
    report = await run(entry(fake_source, fake_destination, ":v0,v1,v2,v3", existing="keep"))
    assert report.totals.kept == 4
    assert counts(fake_source) == {}
    assert counts(fake_destination) == {"tags": 1}


async def test_tags_that_are_not_immutable_are_compared(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for registry in (fake_source, fake_destination):
        fill(registry, 9)
        registry.tag("a/app", "latest", "v0")
    forget(fake_source, fake_destination)
    report = await run(entry(fake_source, fake_destination, immutable=["v*"]))
    assert (report.totals.kept, report.totals.up_to_date) == (9, 1)
    assert counts(fake_source) == counts(fake_destination) == {"tags": 1, "manifest-head": 1}


async def test_the_patterns_are_for_names_at_the_destination(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    here = fake_source.image("a/app", "latest", [b"new"])
    old = fake_destination.image("a/app", "v1", [b"old"])
    rule = {
        "from": f"{fake_source.host}/a/app:latest",
        "to": [f"{fake_destination.host}/a/app:v1", f"{fake_destination.host}/a/app:stable"],
        "immutable": ["v*"],
    }
    report = await run(configured([rule], fake_source, fake_destination))
    assert by_tag(report) == {"v1": "kept", "stable": "copied"}
    assert fake_destination.digest("a/app", "v1") == old
    assert fake_destination.digest("a/app", "stable") == here


@pytest.mark.parametrize("keys", [*KEEPING, {"existing": "fail"}])
async def test_force_overwrites(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, keys: dict[str, Any]
) -> None:
    here = fake_source.image("a/app", "v1", [b"new"])
    fake_destination.image("a/app", "v1", [b"old"])
    assert by_tag(await run(entry(fake_source, fake_destination, **keys), force=True)) == {"v1": "copied"}
    assert fake_destination.digest("a/app", "v1") == here


async def test_a_list_that_breaks_in_the_middle_decides_nothing(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_destination.quirks.page_size = 4
    fill(fake_source, 12)
    fill(fake_destination, 10)
    old = fake_destination.image("a/app", "v7", [b"old"])
    fake_destination.rules.append(Fault("tags", actions.refuse(403, "DENIED"), skip=1))
    report = await run(entry(fake_source, fake_destination, existing="keep"))
    assert (report.totals.kept, report.totals.copied, report.totals.failed) == (10, 2, 0)
    assert fake_destination.digest("a/app", "v7") == old
    # Each was looked up; what was lacking once more, before it was put.
    assert fake_destination.count("manifest-head") == 12 + 2


def only_the_first(reply: Reply) -> None:
    """A list that is short and does not say so."""
    reply.body = b'{"name": "a/app", "tags": ["v0"]}'
    reply.headers.pop("Link", None)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("tags", actions.change(only_the_first)),
        Fault("tags", actions.refuse(404, "UNSUPPORTED", "no such endpoint")),
        Fault("tags", actions.refuse(404, "NAME_UNKNOWN", "unknown")),
        Fault("tags", actions.respond(200, b'{"name": "a/app", "tags": null}', {"Content-Type": "application/json"})),
    ],
)
@pytest.mark.parametrize("existing", ["keep", "fail"])
async def test_a_tag_that_a_list_lacks_is_not_overwritten(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, fault: Fault, existing: str
) -> None:
    for number in range(5):
        fake_source.image("a/app", f"v{number}", [bytes([number])])
        fake_destination.image("a/app", f"v{number}", [b"old", bytes([number])])
    before = [fake_destination.digest("a/app", f"v{number}") for number in range(5)]
    fake_destination.rules.append(fault)
    report = await run(entry(fake_source, fake_destination, existing=existing))
    assert set(outcomes(report).values()) == {"kept" if existing == "keep" else "failed"}
    assert [fake_destination.digest("a/app", f"v{number}") for number in range(5)] == before


@pytest.mark.parametrize("existing", ["keep", "fail"])
async def test_a_tag_that_comes_between_plan_and_copy_is_not_overwritten(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, existing: str
) -> None:
    here = fake_source.image("a/app", "v1", [b"new"])
    there = fake_destination.image("a/app", None, [b"old"])
    text = entry(fake_source, fake_destination, existing=existing)
    report = await run(text, before_copy=lambda: fake_destination.tag("a/app", "v1", there))
    if existing == "keep":
        assert by_tag(report) == {"v1": "kept"}
        assert report.images[0].digest == there
    else:
        assert list(errors(report).values()) == [f"v1 is there with other content ({there}, here {here})"]
    assert fake_destination.digest("a/app", "v1") == there


async def test_a_put_whose_answer_was_lost_is_still_a_copy(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    digest = fake_source.image("a/app", "v1")
    text = entry(fake_source, fake_destination, existing="keep")
    report = await run(text, before_copy=lambda: _arrive(fake_source, fake_destination))
    assert by_tag(report) == {"v1": "copied"}
    assert fake_destination.digest("a/app", "v1") == digest


def _arrive(source: FakeRegistry, destination: FakeRegistry) -> None:
    assert destination.image("a/app", "v1") == source.digest("a/app", "v1")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("existing", ["keep", "fail"])
async def test_a_repository_that_is_hidden_until_it_is_pushed_to(
    fake_source: FakeRegistry, existing: str, status: int
) -> None:
    digest = fake_source.image("a/app", "v1")
    with FakeRegistry(Quirks(unknown_name=status)) as destination:
        assert by_tag(await run(entry(fake_source, destination, existing=existing))) == {"v1": "copied"}
        assert destination.digest("a/app", "v1") == digest


@pytest.mark.parametrize("existing", ["keep", "fail"])
async def test_an_account_that_may_not_read_overwrites_nothing(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, existing: str
) -> None:
    fake_source.image("a/app", "v1", [b"new"])
    there = fake_destination.image("a/app", "v1", [b"old"])
    for kind in ("manifest-head", "manifest-get", "tags"):
        fake_destination.rules.append(Fault(kind, actions.refuse(403, "DENIED")))
    report = await run(entry(fake_source, fake_destination, existing=existing))
    (error,) = errors(report).values()
    assert "whether the tag is there must be known before it is put" in error
    assert "give an account that may read there" in error
    assert fake_destination.digest("a/app", "v1") == there


async def test_a_destination_that_cannot_be_asked_has_failed(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fill(fake_source, 5)
    for kind in ("manifest-head", "manifest-get", "tags"):
        fake_destination.rules.append(Fault(kind, actions.refuse(418, "TEAPOT")))
    report = await run(entry(fake_source, fake_destination, existing="keep"))
    assert set(outcomes(report).values()) == {"failed"}
    assert fake_destination.count("manifest-put") == 0


async def test_a_filter_is_part_of_what_is_compared(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    children = {
        name: fake_source.image("a/app", None, [name.encode()], name) for name in ("linux/amd64", "linux/arm64")
    }
    fake_source.index("a/app", "v1", children)
    text = entry(fake_source, fake_destination, platforms=["linux/amd64"], existing="fail")
    assert [by_tag(await run(text)) for _ in range(2)] == [{"v1": "copied"}, {"v1": "up_to_date"}]
    # A filter that leaves nothing of an image writes nothing, whatever is there.
    fake_source.image("a/app", "v1", [b"other"], "linux/s390x")
    assert by_tag(await run(text)) == {"v1": "skipped"}
    fake_source.image("a/app", "v1", [b"other"], "linux/amd64")
    assert by_tag(await run(text)) == {"v1": "failed"}


async def test_a_source_that_answers_no_head_is_read(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    fake_source.image("a/app", "v1")
    text = entry(fake_source, fake_destination, existing="fail")
    await run(text)
    fake_source.rules.append(Fault("manifest-head", actions.respond(404)))
    assert by_tag(await run(text)) == {"v1": "up_to_date"}
    fake_source.image("a/app", "v1", [b"moved"])
    assert by_tag(await run(text)) == {"v1": "failed"}


@pytest.mark.parametrize("policy", [ExistingTags(Existing.KEEP), ExistingTags(Existing.FAIL), ExistingTags()])
async def test_a_digest_is_never_looked_up_before_it_is_put(
    fake_destination: FakeRegistry, policy: ExistingTags
) -> None:
    digest = fake_destination.image("a/app", "v1")
    at = Reference(fake_destination.host, "a/app").at(digest)
    async with opened(fake_destination.host, writable=True) as repository:
        assert await find_kept(at, policy, repository, digest) is None
    assert fake_destination.count("manifest-head") == 0


async def test_what_failed_is_run_again_under_the_same_rule(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for tag in ("v1", "v2"):
        fake_source.image("a/app", tag, [tag.encode()])
    fake_destination.image("a/app", "v1", [b"other"])
    fake_destination.rules.append(Fault("manifest-put", actions.refuse(403, "DENIED")))
    report = await run(entry(fake_source, fake_destination, existing="fail", immutable=["w*"]))
    assert by_tag(report) == {"v1": "failed", "v2": "failed"}
    assert list(report.retry_options.values()) == [{"existing": "fail", "immutable": ("w*",)}] * 2
