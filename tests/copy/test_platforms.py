"""Platform filters: what is kept, what is made anew, and what stays as it was."""

import json
from typing import Any

import pytest

from imageferry.selection import PlatformFilter
from testkit.images import raw
from testkit.images.documents import OCI_LAYER, OCI_MANIFEST, Document, descriptor, image_manifest, platform_of
from testkit.images.push import push_document
from testkit.images.schema1 import schema1_manifest
from testkit.registries import actions
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured, errors, outcomes, run

PLATFORMS = ("linux/amd64", "linux/arm64/v8", "linux/arm/v7", "linux/arm/v6", "windows/amd64")


@pytest.fixture
def children(fake_source: FakeRegistry) -> dict[str, str]:
    """Images of several platforms in a/app, by platform."""
    return {each: fake_source.image("a/app", None, [each.encode()], each) for each in PLATFORMS}


async def filtered(
    source: FakeRegistry, destination: FakeRegistry, *platforms: str, **options: Any
) -> tuple[str, dict[str, Any]]:
    """Copy a/app:v1 under a filter; give the outcome and the document that is at the destination."""
    rule = {"from": f"{source.host}/a/app:v1", "to": f"{destination.host}/a/app", "platforms": list(platforms)}
    report = await run(configured([rule], source, destination), **options)
    assert errors(report) == {}
    (image,) = report.images
    data = destination.manifest("a/app", "v1")
    assert image.digest == destination.digest("a/app", "v1")
    return image.outcome, json.loads(data or b"{}")


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize(
    ("platforms", "kept"),
    [
        (["linux/amd64"], ["linux/amd64"]),
        (["linux/arm/v7"], ["linux/arm/v7"]),
        (["linux/arm:v6"], ["linux/arm/v6"]),
        (["linux/arm"], ["linux/arm/v7", "linux/arm/v6"]),
        (["windows"], ["windows/amd64"]),
        (["*/amd64"], ["linux/amd64", "windows/amd64"]),
        # In the index's order, not the filter's.
        (["linux/arm64", "linux/amd64"], ["linux/amd64", "linux/arm64/v8"]),
    ],
)
async def test_an_index_keeps_the_children_that_match(
    fake_source: FakeRegistry,
    fake_destination: FakeRegistry,
    children: dict[str, str],
    docker: bool,
    platforms: list[str],
    kept: list[str],
) -> None:
    fake_source.index("a/app", "v1", children, docker=docker)
    outcome, document = await filtered(fake_source, fake_destination, *platforms)
    assert outcome == "copied"
    whole = json.loads(fake_source.manifest("a/app", "v1") or b"")
    assert document == {
        **whole,
        "manifests": [entry for entry in whole["manifests"] if entry["digest"] in {children[each] for each in kept}],
    }
    assert fake_destination.media_type("a/app", "v1") == fake_source.media_type("a/app", "v1")
    # The others were not copied.
    assert set(fake_destination.storage.repository("a/app").manifests) == {
        *(children[each] for each in kept),
        fake_destination.digest("a/app", "v1"),
    }


async def test_a_filter_that_leaves_nothing_out_changes_nothing(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    digest = raw.push_odd_list(fake_source.host, "a/app", "v1")
    await filtered(fake_source, fake_destination, "linux/amd64", "linux/arm64")
    assert fake_destination.digest("a/app", "v1") == digest


async def test_without_a_filter_an_odd_index_keeps_its_bytes(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    # image-syncer writes every index anew.
    digest = raw.push_odd_list(fake_source.host, "a/app", "v1")
    images = {f"{fake_source.host}/a/app": f"{fake_destination.host}/a/app"}
    await run(configured(images, fake_source, fake_destination))
    assert fake_destination.digest("a/app", "v1") == digest


async def test_unknown_fields_of_a_rewritten_index_are_kept(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    raw.push_odd_list(fake_source.host, "a/app", "v1")
    _, document = await filtered(fake_source, fake_destination, "linux/arm64")
    assert document["x-unknown"] == {"\u00fc": [1, 2.0, None]}
    (entry,) = document["manifests"]
    assert entry["platform"] == {**platform_of("linux/arm64/v8"), "features": ["sse4"], "x-odd": None}


async def test_a_child_without_a_platform_stays(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    # image-syncer loses the whole image.
    children = [fake_source.image("a/app", None, [each.encode()], each) for each in PLATFORMS[:2]]
    fake_source.index("a/app", "v1", children)
    outcome, document = await filtered(fake_source, fake_destination, "linux/s390x")
    assert outcome == "copied"
    assert [entry["digest"] for entry in document["manifests"]] == children


async def test_an_index_in_an_index_is_filtered_too(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    images = {each: image_manifest([each.encode()], each) for each in PLATFORMS[:3]}
    inner = raw.oci_index([(images[each], each) for each in PLATFORMS[1:3]], annotations={"level": "2"})
    outer = raw.oci_index([(images["linux/amd64"], "linux/amd64"), (inner, None)])
    raw.push_tree(fake_source.host, "a/app", "v1", outer, [*images.values(), inner])
    _, document = await filtered(fake_source, fake_destination, "linux/arm/v7")
    (entry,) = document["manifests"]
    below = json.loads(fake_destination.manifest("a/app", entry["digest"]) or b"{}")
    assert [child["digest"] for child in below["manifests"]] == [images["linux/arm/v7"].digest]
    assert below["annotations"] == {"level": "2"}
    assert entry["size"] == len(fake_destination.manifest("a/app", entry["digest"]) or b"")


async def test_an_inner_index_that_is_left_empty_goes(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    images = {each: image_manifest([each.encode()], each) for each in PLATFORMS[:2]}
    inner = raw.oci_index([(images["linux/arm64/v8"], "linux/arm64/v8")])
    outer = raw.oci_index([(images["linux/amd64"], "linux/amd64"), (inner, None)])
    raw.push_tree(fake_source.host, "a/app", "v1", outer, [*images.values(), inner])
    _, document = await filtered(fake_source, fake_destination, "linux/amd64")
    assert [child["digest"] for child in document["manifests"]] == [images["linux/amd64"].digest]


async def test_an_image_of_which_nothing_is_left_is_skipped(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, children: dict[str, str]
) -> None:
    fake_source.index("a/app", "v1", children)
    outcome, document = await filtered(fake_source, fake_destination, "linux/s390x")
    assert (outcome, document) == ("skipped", {})
    assert fake_destination.count("upload-start", "upload-put", "manifest-put", "mount") == 0


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize(
    ("platform", "wanted", "outcome"),
    [
        ("linux/amd64", "linux/amd64", "copied"),
        ("linux/amd64", "linux", "copied"),
        ("linux/amd64", "linux/arm64", "skipped"),
        ("linux/arm/v7", "linux/arm/v7", "copied"),
        ("linux/arm/v6", "linux/arm/v7", "skipped"),
        ("linux/arm64", "linux/arm64/v8", "copied"),
        ("amd64/linux", "linux/amd64", "skipped"),
    ],
)
async def test_a_single_image_is_judged_by_its_config(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, docker: bool, platform: str, wanted: str, outcome: str
) -> None:
    digest = fake_source.image("a/app", "v1", [b"layer"], platform, docker=docker)
    assert (await filtered(fake_source, fake_destination, wanted))[0] == outcome
    assert fake_destination.digest("a/app", "v1") == (digest if outcome == "copied" else None)


@pytest.mark.parametrize(("wanted", "outcome"), [("*/amd64", "copied"), ("*/arm64", "skipped")])
async def test_a_schema_1_image_is_judged_by_its_history(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, wanted: str, outcome: str
) -> None:
    document = schema1_manifest("a/app", "v1", [raw.gzip_layer({"a": b"b"})])
    push_document(fake_source.host, "a/app", "v1", document)
    assert (await filtered(fake_source, fake_destination, wanted))[0] == outcome


@pytest.mark.parametrize("document", [raw.artifact(), raw.helm_chart()], ids=["artifact", "chart"])
async def test_an_artifact_passes_every_filter(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, document: Document
) -> None:
    push_document(fake_source.host, "a/app", "v1", document)
    assert (await filtered(fake_source, fake_destination, "linux/s390x"))[0] == "copied"


async def test_the_flags_filter_holds_where_a_rule_has_none(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, children: dict[str, str]
) -> None:
    fake_source.index("a/app", "v1", children)
    host = fake_destination.host
    rules = [
        {"from": f"{fake_source.host}/a/app:v1", "to": f"{host}/a/flag"},
        {"from": f"{fake_source.host}/a/app:v1", "to": f"{host}/a/rule", "platforms": ["windows/amd64"]},
    ]
    platforms = PlatformFilter.of(["linux"], ["arm64", "arm:v7"])
    report = await run(configured(rules, fake_source, fake_destination), platforms=platforms)
    assert errors(report) == {}
    kept = {
        name: [entry["digest"] for entry in json.loads(fake_destination.manifest(name, "v1") or b"")["manifests"]]
        for name in ("a/flag", "a/rule")
    }
    assert kept == {
        "a/flag": [children["linux/arm64/v8"], children["linux/arm/v7"]],
        "a/rule": [children["windows/amd64"]],
    }


async def test_a_second_run_finds_the_filtered_index(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, children: dict[str, str]
) -> None:
    fake_source.index("a/app", "v1", children)
    assert (await filtered(fake_source, fake_destination, "linux/amd64"))[0] == "copied"
    fake_source.clear_log()
    fake_destination.clear_log()
    assert (await filtered(fake_source, fake_destination, "linux/amd64"))[0] == "up_to_date"
    assert fake_source.counts() == {"ping": 1, "manifest-head": 1, "manifest-get": 1}
    assert fake_destination.counts() == {"ping": 1, "manifest-head": 1}


@pytest.mark.parametrize("readable", [True, False])
async def test_a_single_image_that_is_up_to_date_costs_no_pull(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, readable: bool
) -> None:
    # HEAD may call an index an image: it is looked at where it was copied to, unless that is refused.
    fake_source.image("a/app", "v1")
    assert (await filtered(fake_source, fake_destination, "linux/amd64"))[0] == "copied"
    if not readable:
        fake_destination.rules.append(Fault("manifest-get", actions.refuse(403, "DENIED")))
    fake_source.clear_log()
    assert (await filtered(fake_source, fake_destination, "linux/amd64"))[0] == "up_to_date"
    assert fake_source.counts() == {"ping": 1, "manifest-head": 1, **({} if readable else {"manifest-get": 1})}


async def test_a_child_that_cannot_be_read_is_a_failure(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, children: dict[str, str]
) -> None:
    # image-syncer reports it as left out by the filter: a success.
    fake_source.index("a/app", "v1", children)
    del fake_source.storage.repository("a/app").manifests[children["linux/amd64"]]
    rule = {"from": f"{fake_source.host}/a/app:v1", "to": f"{fake_destination.host}/a/app", "platforms": ["linux"]}
    report = await run(configured([rule], fake_source, fake_destination))
    assert outcomes(report) == {f"{fake_destination.host}/a/app:v1": "failed"}
    assert children["linux/amd64"] in errors(report)[f"{fake_destination.host}/a/app:v1"]
    assert fake_destination.digest("a/app", "v1") is None


async def test_an_attestation_goes_with_a_filter_for_unknown_only(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    raw.push_attested_index(fake_source.host, "a/app", "v1")
    _, document = await filtered(fake_source, fake_destination, "linux/amd64")
    assert [entry["platform"] for entry in document["manifests"]] == [platform_of("linux/amd64")]


async def test_an_image_whose_config_names_no_platform_is_an_error(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    document = image_manifest([b"layer"])
    content = document.json()
    content["config"] = descriptor(content["config"]["mediaType"], b"[]")
    broken = Document(json.dumps(content).encode(), document.media_type, (b"[]", b"layer"))
    push_document(fake_source.host, "a/app", "v1", broken)
    rule = {"from": f"{fake_source.host}/a/app:v1", "to": f"{fake_destination.host}/a/app", "platforms": ["linux"]}
    report = await run(configured([rule], fake_source, fake_destination))
    assert "its config names none" in errors(report)[f"{fake_destination.host}/a/app:v1"]


UNKNOWN_CONFIG = "application/vnd.example.config.v1+json"


def with_config(config: bytes, media_type: str = UNKNOWN_CONFIG, layer: str = OCI_LAYER, **more: Any) -> Document:
    """Make an image whose config has an unusual type."""
    content = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(media_type, config),
        "layers": [descriptor(layer, b"layer")],
        **more,
    }
    return Document(json.dumps(content).encode(), OCI_MANIFEST, (config, b"layer"))


@pytest.mark.parametrize(
    ("document", "outcome"),
    [
        (with_config(json.dumps(platform_of("linux/amd64")).encode()), "skipped"),
        (with_config(json.dumps(platform_of("linux/arm64")).encode()), "copied"),
        (with_config(json.dumps(platform_of("linux/amd64")).encode(), ""), "skipped"),
        # As images of WebAssembly: layers of no type of images, and a platform.
        (with_config(json.dumps(platform_of("wasip1/wasm")).encode(), layer="application/wasm"), "skipped"),
        (with_config(b"{}", layer="application/vnd.example.layer"), "copied"),
        (with_config(b"text", layer="application/vnd.example.layer"), "copied"),
        (with_config(b"text", artifactType="application/vnd.example.thing"), "copied"),
    ],
)
async def test_a_config_of_an_unknown_type_is_read(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, document: Document, outcome: str
) -> None:
    push_document(fake_source.host, "a/app", "v1", document)
    assert (await filtered(fake_source, fake_destination, "linux/arm64"))[0] == outcome


@pytest.mark.parametrize("config", [b"text", b"[]", b""])
async def test_an_image_that_no_filter_can_judge_is_an_error(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, config: bytes
) -> None:
    push_document(fake_source.host, "a/app", "v1", with_config(config))
    rule = {"from": f"{fake_source.host}/a/app:v1", "to": f"{fake_destination.host}/a/app", "platforms": ["linux"]}
    for dry_run in (False, True):
        report = await run(configured([rule], fake_source, fake_destination), dry_run=dry_run)
        words = errors(report)[f"{fake_destination.host}/a/app:v1"]
        assert f"{fake_source.host}/a/app@" in words
        assert "the filter cannot judge it" in words


async def test_no_image_is_judged_by_a_config_that_is_another(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("a/app", "v1")
    other = json.dumps(platform_of("linux/arm64")).encode()
    fake_source.rules.append(Fault("blob-get", actions.replace_body(other)))
    rule = {"from": f"{fake_source.host}/a/app:v1", "to": f"{fake_destination.host}/a/app", "platforms": ["*/arm64"]}
    report = await run(configured([rule], fake_source, fake_destination))
    assert "do not hash" in errors(report)[f"{fake_destination.host}/a/app:v1"]
