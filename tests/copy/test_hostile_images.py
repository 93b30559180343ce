"""Images that are damaged or mean harm: each is an error that names it, and nothing of it arrives."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from imageferry.config.failed_rules import rules_to_run_again
from imageferry.copy.manifest_contents import DEPTH_LIMIT
from imageferry.copy.plan import ODD_ENTRIES
from imageferry.report.outcomes import Outcome
from imageferry.text import escape_control
from testkit.images.documents import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, descriptor
from testkit.registries import actions
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured, errors, outcomes, run

DIGEST = "sha256:" + "a" * 64
CONFIG = descriptor(OCI_CONFIG, b"{}")


def entry(**more: Any) -> dict[str, Any]:
    """Make a descriptor that is good but for what is given."""
    return {"mediaType": OCI_LAYER, "digest": DIGEST, "size": 5, **more}


async def words_of(source: FakeRegistry, destination: FakeRegistry, **options: Any) -> str:
    """Copy a/app:v1, which fails; give the words. Nothing was written."""
    rule = {"from": f"{source.host}/a/app:v1", "to": f"{destination.host}/a/app", **options}
    report = await run(configured([rule], source, destination))
    assert outcomes(report) == {f"{destination.host}/a/app:v1": "failed"}
    assert destination.count("manifest-put") == 0
    return errors(report)[f"{destination.host}/a/app:v1"]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([entry(size=-1)], "size -1"),
        ([entry(size=1 << 62)], "size 4611686018427387904"),
        ([entry(size=1.5)], "size 1.5"),
        ([entry(size=True)], "size True"),
        ([entry(size="5")], "size '5'"),
        ([{"digest": DIGEST}], "size None"),
        ([entry(digest="md5:" + "a" * 32)], "md5:"),
        ([entry(digest="sha256:../../../etc/passwd")], "not a digest"),
        ([entry(digest="sha256:" + "A" * 64)], "not a digest"),
        ([entry(digest="../../../v2/x")], "not a digest"),
        ([entry(digest=None)], "not a digest"),
        ([entry(digest=["x"])], "not a digest"),
        (["layer"], "not a descriptor"),
        ([None], "not a descriptor"),
        ([entry(mediaType=["x"])], "media type ['x']"),
        ("layers", "layers is not a list"),
        ({"a": 1}, "layers is not a list"),
        ([{}] * 100_000, "100,000 layers"),
    ],
)
async def test_a_manifest_with_bad_layers_is_an_error(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, layers: object, expected: str
) -> None:
    fake_source.add_blob("a/app", b"{}")
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": layers}
    digest = fake_source.add_manifest("a/app", "v1", json.dumps(document).encode(), OCI_MANIFEST)
    words = await words_of(fake_source, fake_destination)
    assert expected in words
    assert digest in words
    assert "damaged or hostile" in words
    assert fake_source.count("blob-get") == fake_destination.count("upload-start") == 0


@pytest.mark.parametrize("options", [{}, {"platforms": ["linux/amd64"]}], ids=["all", "filtered"])
@pytest.mark.parametrize(
    "children",
    [
        [entry(size=-1)],
        [entry(digest="md5:x")],
        ["child"],
        "children",
        [entry(platform="linux")],
        [entry(platform=["linux"])],
        [entry(mediaType={})],
        [{}] * 20_000,
        [entry(mediaType=OCI_INDEX, digest="sha256:" + "b" * 64)],
    ],
    ids=["size", "digest", "text", "no-list", "platform", "platforms", "type", "many", "missing"],
)
async def test_an_index_with_bad_entries_is_an_error(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, children: object, options: dict[str, Any]
) -> None:
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}
    fake_source.add_manifest("a/app", "v1", json.dumps(document).encode(), OCI_INDEX)
    await words_of(fake_source, fake_destination, **options)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b"[" * 100_000, b"\xff\xfe{}"])
@pytest.mark.parametrize("media_type", [OCI_MANIFEST, OCI_INDEX])
async def test_a_manifest_that_is_no_json_object_is_an_error(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, body: bytes, media_type: str
) -> None:
    fake_source.add_manifest("a/app", "v1", body, media_type)
    assert "not a JSON object" in await words_of(fake_source, fake_destination)


def nested(registry: FakeRegistry, depth: int, width: int = 1) -> None:
    """Put an image under so many indexes, each of which names the next so many times."""
    digest = registry.image("a/app", None)
    for _ in range(depth):
        digest = registry.index("a/app", None, [digest] * width)
    registry.tag("a/app", "v1", digest)


@pytest.mark.parametrize("options", [{}, {"platforms": ["linux/amd64"]}], ids=["all", "filtered"])
async def test_indexes_nested_too_deep_are_an_error(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, options: dict[str, Any]
) -> None:
    nested(fake_source, DEPTH_LIMIT + 1)
    words = await words_of(fake_source, fake_destination, **options)
    assert f"{DEPTH_LIMIT} indexes deep" in words


@pytest.mark.parametrize("options", [{}, {"platforms": ["linux/amd64"]}], ids=["all", "filtered"])
async def test_indexes_that_multiply_are_read_once_each(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, options: dict[str, Any]
) -> None:
    # 30 ** 7 ways lead to the image.
    nested(fake_source, DEPTH_LIMIT - 1, width=30)
    rule = {"from": f"{fake_source.host}/a/app:v1", "to": f"{fake_destination.host}/a/app", **options}
    async with asyncio.timeout(20):
        report = await run(configured([rule], fake_source, fake_destination))
    assert errors(report) == {}
    assert fake_source.count("manifest-get") <= 2 * DEPTH_LIMIT


@pytest.mark.parametrize(
    "tag", ["../../x", "..", "a/b", "v1?x=1", "v1#x", "-v1", "v1\n", "", "ü", "a" * 129, "sha256:" + "0" * 64, "\ud800"]
)
async def test_what_is_listed_and_no_tag_fails_and_the_tags_are_copied(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, tag: str
) -> None:
    body = json.dumps({"name": "a/app", "tags": [tag, "v1", "v2"]}).encode()
    for each in ("v1", "v2"):
        fake_source.image("a/app", each)
    fake_source.rules.append(Fault("tags", actions.respond(200, body)))
    host, source = fake_destination.host, f"{fake_source.host}/a/app"
    for pattern, kept in (("", ["v1", "v2"]), (":/^[^1]*$/", ["v2"])):
        report = await run(configured({source + pattern: f"{host}/a/app"}, fake_source, fake_destination))
        failed = [image for image in report.images if image.outcome is Outcome.FAILED]
        # What a pattern leaves out is asked for by nobody.
        assert len(failed) == ("1" not in tag or not pattern)
        for image in failed:
            # It can be run again, as the rule that it came from.
            assert (image.source, image.destination) == (source + pattern, f"{host}/a/app")
            words = f"cannot copy an entry of the tags of {source}: {escape_control(repr(tag)[:9])}"
            assert (image.error or "").startswith(words)
            assert "is not a tag" in (image.error or "")
        assert (report.totals.copied, fake_destination.tags("a/app")) == (len(kept), kept)
        fake_destination.storage.repository("a/app").tags.clear()
    asked = {entry.path.rpartition("/")[2] for entry in fake_source.log if entry.kind.startswith("manifest")}
    assert asked <= {"v1", "v2"}


async def test_many_entries_that_are_no_tags_leave_few_lines(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, tmp_path: Path
) -> None:
    body = json.dumps({"name": "a/app", "tags": ["", "v1"] + [f"/{number}" for number in range(5000)]}).encode()
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("tags", actions.respond(200, body)))
    rule = {f"{fake_source.host}/a/app": f"{fake_destination.host}/a/app"}
    report = await run(configured(rule, fake_source, fake_destination))
    failed = [image.error or "" for image in report.images if image.outcome is Outcome.FAILED]
    assert (report.totals.copied, len(failed)) == (1, ODD_ENTRIES + 1)
    assert failed[-1].endswith(f"so it is with {5001 - ODD_ENTRIES:,} more entries")
    assert rules_to_run_again(report) == {source: [destination] for source, destination in rule.items()}


async def test_an_odd_entry_at_a_destination_stops_nothing(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for tag in ("v1", "v2"):
        fake_source.image("a/app", tag)
    fake_destination.rules.append(Fault("tags", actions.respond(200, b'{"tags": ["", "sha256:x", "\\ud800"]}')))
    rule = {f"{fake_source.host}/a/app": f"{fake_destination.host}/a/app"}
    report = await run(configured(rule, fake_source, fake_destination))
    assert (report.totals.copied, report.totals.failed) == (2, 0)


async def test_an_escape_that_is_no_text_survives_a_filter(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    children = {
        each: fake_source.image("a/app", None, [each.encode()], each) for each in ("linux/amd64", "linux/arm64")
    }
    fake_source.index("a/app", "v1", children)
    index = json.loads(fake_source.manifest("a/app", "v1") or b"")
    body = json.dumps({**index, "annotations": {"x": "\ud800", "y": "ü"}}).encode()
    fake_source.add_manifest("a/app", "v1", body, OCI_INDEX)
    rule = {"from": f"{fake_source.host}/a/app:v1", "to": f"{fake_destination.host}/a/app", "platforms": ["*/arm64"]}
    assert errors(await run(configured([rule], fake_source, fake_destination))) == {}
    made = json.loads(fake_destination.manifest("a/app", "v1") or b"")
    assert made["annotations"] == {"x": "\ud800", "y": "ü"}


async def test_a_bad_index_does_not_stop_the_plan_of_the_others(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry(platform="linux")]}
    for registry in (fake_source, fake_destination):
        registry.add_manifest("a/app", "bad", json.dumps(document).encode(), OCI_INDEX)
    fake_source.index("a/app", "good", {"linux/amd64": fake_source.image("a/app", None)})
    host = fake_destination.host
    rule = {"from": f"{fake_source.host}/a/app", "to": f"{host}/a/app", "platforms": ["linux"]}
    report = await run(configured([rule], fake_source, fake_destination))
    assert outcomes(report) == {f"{host}/a/app:bad": "failed", f"{host}/a/app:good": "copied"}


async def test_an_index_may_name_what_is_no_manifest(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    blob = fake_source.add_blob("a/app", b"not a manifest")
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [{"mediaType": "application/vnd.example.thing", "digest": blob, "size": 14}],
    }
    digest = fake_source.add_manifest("a/app", "v1", json.dumps(document).encode(), OCI_INDEX)
    images = {f"{fake_source.host}/a/app:v1": f"{fake_destination.host}/a/app"}
    assert errors(await run(configured(images, fake_source, fake_destination))) == {}
    assert fake_destination.digest("a/app", "v1") == digest
    assert fake_destination.blob("a/app", blob) == b"not a manifest"
