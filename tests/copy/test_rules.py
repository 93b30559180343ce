"""Every form of a rule, from its text to what is at the destination."""

from typing import Any

import pytest

from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured, errors, outcomes, run

A, B = "{source}/coreos/etcd", "{destination}/mirror/etcd"


@pytest.fixture
def digests(fake_source: FakeRegistry) -> dict[str, str]:
    """The digests of the tags v1, v2, v2.1 and latest of coreos/etcd; v2 and latest are the same image."""
    found = {tag: fake_source.image("coreos/etcd", tag, [tag.encode()]) for tag in ("v1", "v2", "v2.1")}
    fake_source.tag("coreos/etcd", "latest", "v2")
    return {**found, "latest": found["v2"]}


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        # The guide's table.
        (A, B, {"v1": "v1", "v2": "v2", "v2.1": "v2.1", "latest": "latest"}),
        (f"{A}:v1", B, {"v1": "v1"}),
        (f"{A}:v1", f"{B}:stable", {"stable": "v1"}),
        (f"{A}:v1,v2,latest", B, {"v1": "v1", "v2": "v2", "latest": "latest"}),
        # As many tags at both, paired from left to right.
        (f"{A}:v1,v2", f"{B}:one,two", {"one": "v1", "two": "v2"}),
        (f"{A}:v2,v1", f"{B}:one,two", {"one": "v2", "two": "v1"}),
        # A pattern matches anywhere in a tag.
        (f"{A}:/^v2/", B, {"v2": "v2", "v2.1": "v2.1"}),
        (f"{A}:/2/", B, {"v2": "v2", "v2.1": "v2.1"}),
        (f"{A}:/^nothing$/", B, {}),
        # What one expression matches may have another name.
        (f"{A}:/^v1$/", f"{B}:stable", {"stable": "v1"}),
        (f"{A}:/^nothing$/", f"{B}:stable", {}),
    ],
)
async def test_the_tags_that_a_rule_names_or_selects_are_copied(
    fake_source: FakeRegistry,
    fake_destination: FakeRegistry,
    digests: dict[str, str],
    source: str,
    destination: str,
    expected: dict[str, str],
) -> None:
    names = {"source": fake_source.host, "destination": fake_destination.host}
    images = {source.format(**names): destination.format(**names)}
    report = await run(configured(images, fake_source, fake_destination))
    assert errors(report) == {}
    held = fake_destination.storage.repository("mirror/etcd").tags
    assert held == {tag: digests[wanted] for tag, wanted in expected.items()}
    assert outcomes(report) == {f"{fake_destination.host}/mirror/etcd:{tag}": "copied" for tag in expected}
    assert report.status == "completed"


async def test_one_name_for_several_matches_fails_the_rule_with_their_names(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, digests: dict[str, str]
) -> None:
    rule, other = f"{fake_source.host}/coreos/etcd:/^v2/", f"{fake_source.host}/coreos/etcd:v1"
    images = {rule: f"{fake_destination.host}/m/etcd:stable", other: f"{fake_destination.host}/m/etcd"}
    report = await run(configured(images, fake_source, fake_destination))
    assert [(image.source, image.outcome) for image in report.images] == [(rule, "failed"), (other, "copied")]
    assert report.images[0].error == (
        f"{rule} matches 2 tags (v2, v2.1), which would all end as stable at {fake_destination.host}/m/etcd: "
        "match one, or leave the destination's tag out"
    )
    assert fake_destination.tags("m/etcd") == ["v1"]


@pytest.mark.parametrize("target", ["", ":stable", "@{digest}"])
async def test_a_digest_is_copied_under_the_name_of_the_destination(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, digests: dict[str, str], target: str
) -> None:
    digest = digests["v1"]
    images = {
        f"{fake_source.host}/coreos/etcd@{digest}": f"{fake_destination.host}/m/etcd{target.format(digest=digest)}"
    }
    (image,) = (await run(configured(images, fake_source, fake_destination))).images
    assert (image.outcome, image.digest) == ("copied", digest)
    assert fake_destination.digest("m/etcd", "stable" if target == ":stable" else digest) == digest
    assert fake_destination.tags("m/etcd") == (["stable"] if target == ":stable" else [])


async def test_a_tag_and_a_digest_together_are_the_digest_under_the_tags_name(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, digests: dict[str, str]
) -> None:
    # image-syncer loses this one and still exits with 0.
    images = {f"{fake_source.host}/coreos/etcd:v2@{digests['v1']}": f"{fake_destination.host}/m/etcd"}
    (image,) = (await run(configured(images, fake_source, fake_destination))).images
    assert (image.outcome, image.digest) == ("copied", digests["v1"])
    assert fake_destination.digest("m/etcd", "v2") == digests["v1"]


async def test_a_digest_and_a_tag_of_one_repository(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, digests: dict[str, str]
) -> None:
    # image-syncer loses this one too.
    images = {f"{fake_source.host}/coreos/etcd@{digests['v2.1']},v1": f"{fake_destination.host}/m/etcd"}
    report = await run(configured(images, fake_source, fake_destination))
    assert [image.outcome for image in report.images] == ["copied", "copied"]
    assert fake_destination.digest("m/etcd", digests["v2.1"])
    assert fake_destination.tags("m/etcd") == ["v1"]


@pytest.mark.parametrize(
    ("defaults", "name"), [({"namespace": "team"}, "team/etcd"), ({}, "etcd")], ids=["namespace", "none"]
)
async def test_an_empty_destination_is_the_default_one(
    fake_source: FakeRegistry,
    fake_destination: FakeRegistry,
    digests: dict[str, str],
    defaults: dict[str, str],
    name: str,
) -> None:
    text = configured(
        {f"{fake_source.host}/coreos/etcd": ""},
        fake_source,
        fake_destination,
        defaults={"registry": fake_destination.host, **defaults},
    )
    assert errors(await run(text)) == {}
    held = {each: fake_destination.tags(each) for each in fake_destination.storage.repositories}
    assert held == {name: sorted(digests)}


async def test_each_destination_of_a_list_gets_the_image(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, digests: dict[str, str]
) -> None:
    host = fake_destination.host
    images = {f"{fake_source.host}/coreos/etcd:v1,v2": [f"{host}/a/etcd", f"{host}/b/etcd:x,y"]}
    assert errors(await run(configured(images, fake_source, fake_destination))) == {}
    assert fake_destination.storage.repository("a/etcd").tags == {"v1": digests["v1"], "v2": digests["v2"]}
    assert fake_destination.storage.repository("b/etcd").tags == {"x": digests["v1"], "y": digests["v2"]}


async def test_one_source_in_two_rules_of_the_list_form(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, digests: dict[str, str]
) -> None:
    host = fake_destination.host
    images: list[dict[str, Any]] = [
        {"from": f"{fake_source.host}/coreos/etcd:v1", "to": f"{host}/a/etcd"},
        {"from": f"{fake_source.host}/coreos/etcd:v1", "to": f"{host}/b/etcd"},
    ]
    fake_source.clear_log()
    assert errors(await run(configured(images, fake_source, fake_destination))) == {}
    assert fake_destination.digest("a/etcd", "v1") == fake_destination.digest("b/etcd", "v1") == digests["v1"]
    # The second had its blobs by mounts from the first.
    assert fake_source.count("blob-get") == 2


async def test_a_source_that_is_missing_costs_itself_alone(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, digests: dict[str, str]
) -> None:
    host = fake_destination.host
    images = {
        f"{fake_source.host}/no/such": f"{host}/a/x",
        f"{fake_source.host}/coreos/etcd:v9,v1": f"{host}/a/etcd",
    }
    report = await run(configured(images, fake_source, fake_destination))
    assert outcomes(report) == {f"{host}/a/x": "failed", f"{host}/a/etcd:v9": "failed", f"{host}/a/etcd:v1": "copied"}
    assert report.status == "failed"
    assert "no/such" in errors(report)[f"{host}/a/x"]
    assert "etcd:v9" in errors(report)[f"{host}/a/etcd:v9"]


async def test_a_repository_without_tags_has_nothing_to_do(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.quirks.tags_null = True
    fake_source.storage.repository("a/app")
    report = await run(
        configured({f"{fake_source.host}/a/app": f"{fake_destination.host}/a/app"}, fake_source, fake_destination)
    )
    assert (report.images, report.status) == ([], "completed")


async def test_a_tag_that_moved_at_the_source_moves_at_the_destination(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    images = {f"{fake_source.host}/a/app": f"{fake_destination.host}/a/app"}
    text = configured(images, fake_source, fake_destination)
    for content in (b"first", b"second"):
        digest = fake_source.image("a/app", "latest", [content])
        (image,) = (await run(text)).images
        assert (image.outcome, image.digest) == ("copied", digest)
        assert fake_destination.digest("a/app", "latest") == digest
