"""How few requests a run needs, counted at both sides."""

import pytest

from imageferry.copy import plan
from imageferry.copy.known_contents import MISSES
from imageferry.copy.options import Options
from imageferry.copy.transfer import SMALL_BLOB_LIMIT
from testkit.images.push import push_blob
from testkit.images.raw import gzip_layer, push_nested_index
from testkit.registries import actions
from testkit.registries.distribution import DistributionRegistry
from testkit.registries.fault_rules import Fault
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.quirks import Quirks
from tests.copy.running import configured, errors, outcomes, run

WRITES = ("upload-start", "mount", "upload-patch", "upload-put", "upload-cancel", "manifest-put")


def counts(registry: FakeRegistry | DistributionRegistry) -> dict[str, int]:
    """Count the requests by kind, but the one that finds out whether it speaks TLS."""
    return {kind: number for kind, number in registry.counts().items() if kind != "ping"}


async def test_an_up_to_date_run_is_a_head_a_tag_a_side(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    children = [fake_source.image("a/app", None, [bytes([number])]) for number in range(3)]
    for number in range(40):
        fake_source.index("a/app", f"v{number}", children)
    text = configured({f"{fake_source.host}/a/app": f"{fake_destination.host}/a/app"}, fake_source, fake_destination)
    assert set(outcomes(await run(text)).values()) == {"copied"}
    fake_source.clear_log()
    fake_destination.clear_log()
    report = await run(text)
    assert report.totals.up_to_date == 40
    assert counts(fake_source) == {"tags": 1, "manifest-head": 40}
    assert counts(fake_destination) == {"tags": 1, "manifest-head": 40}


async def test_an_up_to_date_run_between_real_registries(
    source_registry: DistributionRegistry, destination_registry: DistributionRegistry, repository: str
) -> None:
    for number in range(5):
        push_nested_index(source_registry.host, repository, f"v{number}")
    targets = [f"{destination_registry.host}/{repository}", f"{destination_registry.host}/{repository}/two"]
    text = configured({f"{source_registry.host}/{repository}": targets}, source_registry, destination_registry)
    assert errors(await run(text)) == {}
    source_registry.clear_log()
    destination_registry.clear_log()
    report = await run(text)
    assert report.totals.up_to_date == 10
    assert counts(source_registry) == {"tags": 1, "manifest-head": 5}
    assert counts(destination_registry) == {"tags": 2, "manifest-head": 10}


async def test_one_tag_is_looked_up_without_a_list(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    fake_source.image("a/app", "v1")
    text = configured({f"{fake_source.host}/a/app:v1": f"{fake_destination.host}/a/app"}, fake_source, fake_destination)
    await run(text)
    fake_source.clear_log()
    fake_destination.clear_log()
    assert (await run(text)).totals.up_to_date == 1
    assert counts(fake_source) == counts(fake_destination) == {"manifest-head": 1}


async def test_a_digest_is_looked_up_at_the_destination_alone(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    digest = fake_source.image("a/app", None)
    text = configured(
        {f"{fake_source.host}/a/app@{digest}": f"{fake_destination.host}/a/app"}, fake_source, fake_destination
    )
    await run(text)
    fake_source.clear_log()
    fake_destination.clear_log()
    assert (await run(text)).totals.up_to_date == 1
    assert counts(fake_source) == {}
    assert counts(fake_destination) == {"manifest-head": 1}


async def test_a_first_run_into_nothing_looks_no_manifest_up(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for number in range(12):
        child = fake_source.image("a/app", None, [bytes([number])])
        fake_source.index("a/app", f"v{number}", [child])
    text = configured({f"{fake_source.host}/a/app": f"{fake_destination.host}/a/app"}, fake_source, fake_destination)
    report = await run(text)
    assert report.totals.copied == 12
    # The config and a layer of each of the twelve children, of which none is shared.
    written = {"upload-start": 24, "upload-put": 24, "manifest-put": 24}
    assert counts(fake_destination) == {"tags": 1, "blob-head": 24, **written}
    assert counts(fake_source) == {"tags": 1, "manifest-get": 24, "blob-get": 24}


async def test_small_blobs_are_looked_for_in_nothing_until_it_is_known_to_be_nothing(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    for number in range(MISSES):
        fake_source.image("a/app", f"v{number:02}", [bytes([number])])
    text = configured({f"{fake_source.host}/a/app": f"{fake_destination.host}/a/app"}, fake_source, fake_destination)
    report = await run(text)
    assert report.totals.blobs_copied == 2 * MISSES
    # Those of one image are looked for side by side.
    assert MISSES <= fake_destination.count("blob-head") <= MISSES + 2


@pytest.mark.parametrize("size", [100, SMALL_BLOB_LIMIT + 1])
async def test_what_a_run_that_was_killed_has_left_is_not_sent_again(
    fake_source: FakeRegistry, destination_registry: DistributionRegistry, repository: str, size: int
) -> None:
    layers = [bytes([number]) * size for number in range(3)]
    for number, layer in enumerate(layers):
        fake_source.image("a/app", f"v{number}", [layer])
    # docker/distribution says of a repository without a tag that it knows none.
    for layer in layers[:2]:
        push_blob(destination_registry.host, repository, layer)
    destination_registry.clear_log()
    images = {f"{fake_source.host}/a/app": f"{destination_registry.host}/{repository}"}
    report = await run(configured(images, fake_source, destination_registry))
    assert (report.totals.copied, report.totals.blobs_present, report.totals.blobs_copied) == (3, 2, 4)
    # The third layer and the three configs.
    assert destination_registry.count("upload-start") == 4


async def test_a_single_image_is_read_with_one_request_each(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    fake_source.image("a/app", "v1", [b"one", b"two", b"two"])
    text = configured({f"{fake_source.host}/a/app:v1": f"{fake_destination.host}/a/app"}, fake_source, fake_destination)
    report = await run(text)
    assert counts(fake_source) == {"manifest-get": 1, "blob-get": 3}
    assert counts(fake_destination) == {
        "manifest-head": 1,
        "blob-head": 3,
        "upload-start": 3,
        "upload-put": 3,
        "manifest-put": 1,
    }
    assert (report.totals.blobs_copied, report.totals.blobs_mounted, report.totals.blobs_present) == (3, 0, 0)


async def test_blobs_that_are_there_are_not_moved(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    fake_source.image("a/app", "v1", [b"base", b"first"])
    fake_source.image("a/app", "v2", [b"base", b"second"])
    images = f"{fake_source.host}/a/app"
    await run(configured({f"{images}:v1": f"{fake_destination.host}/a/app"}, fake_source, fake_destination))
    fake_source.clear_log()
    report = await run(configured({f"{images}:v2": f"{fake_destination.host}/a/app"}, fake_source, fake_destination))
    assert (report.totals.blobs_present, report.totals.blobs_copied) == (1, 2)
    assert fake_source.count("blob-get") == 2


@pytest.mark.parametrize("held", [False, True])
async def test_a_dry_run_writes_nothing(fake_source: FakeRegistry, fake_destination: FakeRegistry, held: bool) -> None:
    digest = fake_source.image("a/app", "v1")
    fake_source.image("a/app", "v2", [b"other"])
    host = fake_destination.host
    if held:
        await run(configured({f"{fake_source.host}/a/app:v2": f"{host}/a/app"}, fake_source, fake_destination))
        fake_destination.clear_log()
    text = configured({f"{fake_source.host}/a/app": f"{host}/a/app"}, fake_source, fake_destination)
    report = await run(text, dry_run=True)
    expected = {f"{host}/a/app:v1": "would_copy", f"{host}/a/app:v2": "up_to_date" if held else "would_copy"}
    assert outcomes(report) == expected
    assert next(image.digest for image in report.images if image.destination.endswith("v1")) == digest
    assert fake_destination.count(*WRITES) == 0
    assert fake_source.count("blob-get") == (2 if held else 0)
    assert fake_destination.tags("a/app") == (["v2"] if held else [])


async def test_a_dry_run_reports_what_would_fail(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    host = fake_destination.host
    text = configured({f"{fake_source.host}/a/app:v9": f"{host}/a/app"}, fake_source, fake_destination)
    report = await run(text, dry_run=True)
    assert "a/app:v9" in errors(report)[f"{host}/a/app:v9"]


async def test_force_puts_manifests_that_are_there(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    children = [fake_source.image("a/app", None, [bytes([number])]) for number in range(2)]
    fake_source.index("a/app", "v1", children)
    host = fake_destination.host
    text = configured({f"{fake_source.host}/a/app:v1": f"{host}/a/app"}, fake_source, fake_destination)
    await run(text)
    # A manifest that was lost at the destination, which a look at the tag does not show.
    del fake_destination.storage.repository("a/app").manifests[children[0]]
    assert (await run(text)).totals.up_to_date == 1
    fake_source.clear_log()
    fake_destination.clear_log()
    report = await run(text, force=True)
    assert outcomes(report) == {f"{host}/a/app:v1": "copied"}
    assert fake_destination.count("manifest-put") == 3
    assert fake_destination.digest("a/app", children[0]) == children[0]
    assert fake_source.count("blob-get") == 0


async def test_force_does_not_put_an_immutable_tag_twice_without_it() -> None:
    with FakeRegistry() as source, FakeRegistry(Quirks(immutable_tags=True)) as destination:
        source.image("a/app", "v1")
        text = configured({f"{source.host}/a/app": f"{destination.host}/a/app"}, source, destination)
        assert errors(await run(text)) == {}
        # The same digest: it is not put again, which would be refused.
        assert (await run(text)).totals.up_to_date == 1
        source.image("a/app", "v1", [b"moved"])
        report = await run(text)
        assert "tag v1 is immutable" in errors(report)[f"{destination.host}/a/app:v1"]


async def test_no_more_blobs_are_under_way_than_proc_says(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    assert Options().proc == 5
    fake_source.image("a/app", "v1", [gzip_layer({"n": bytes([number])}) for number in range(12)])
    fake_source.rules.append(Fault("blob-get", actions.delay(0.1)))
    text = configured({f"{fake_source.host}/a/app:v1": f"{fake_destination.host}/a/app"}, fake_source, fake_destination)
    assert errors(await run(text, proc=3)) == {}
    assert 2 <= fake_source.peak("blob-get") <= 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
async def test_a_destination_that_does_not_exist_yet_may_say_so_in_any_way(
    fake_source: FakeRegistry, status: int
) -> None:
    with FakeRegistry(Quirks(unknown_name=status)) as destination:
        digest = fake_source.image("a/app", "v1")
        fake_source.tag("a/app", "v2", "v1")
        for tags in (":v1", ""):
            images = {f"{fake_source.host}/a/app{tags}": f"{destination.host}/x{status}/app{len(tags)}"}
            assert errors(await run(configured(images, fake_source, destination))) == {}
            assert destination.digest(f"x{status}/app{len(tags)}", "v1") == digest


async def test_a_head_that_does_not_work_does_not_stop_a_copy() -> None:
    with FakeRegistry(Quirks(manifest_head=404, blob_head=404)) as source:
        digest = source.image("a/app", "v1")
        with FakeRegistry(Quirks(manifest_head=405, blob_head=405)) as destination:
            images = {f"{source.host}/a/app": f"{destination.host}/a/app"}
            assert errors(await run(configured(images, source, destination))) == {}
            assert destination.digest("a/app", "v1") == digest


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize("refusing", ["source", "destination"])
async def test_a_registry_that_refuses_every_head_is_asked_with_get(
    monkeypatch: pytest.MonkeyPatch, status: int, refusing: str
) -> None:
    monkeypatch.setattr(plan, "IMAGES_COMPARED_AT_ONCE", 2)
    quirks = {refusing: Quirks(manifest_head=status)}
    with FakeRegistry(quirks.get("source")) as source, FakeRegistry(quirks.get("destination")) as destination:
        for number in range(6):
            source.image("a/app", f"v{number}", [bytes([number])])
        text = configured({f"{source.host}/a/app": f"{destination.host}/a/app"}, source, destination)
        assert set(outcomes(await run(text)).values()) == {"copied"}
        asked = source if refusing == "source" else destination
        for dry_run in (False, True):
            source.clear_log()
            destination.clear_log()
            report = await run(text, dry_run=dry_run)
            assert report.totals.up_to_date == 6
            # Of those that are compared first, all are asked for at once.
            assert asked.count("manifest-head") <= 2
            assert asked.count("manifest-get") == 6
