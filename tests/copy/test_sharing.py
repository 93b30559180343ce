"""Each byte moves once: tags that share blobs, several destinations, mounts."""

import asyncio
from pathlib import Path

import pytest

from imageferry.config import load_text
from imageferry.copy import reader
from imageferry.copy.blob_move import BlobMove
from imageferry.copy.engine import Engine
from imageferry.copy.options import Options
from imageferry.copy.runner import LocalRunner
from testkit.images import raw
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.auth import Bearer
from testkit.registries.distribution import DistributionRegistry
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.quirks import Quirks
from tests.copy.judging import assert_same
from tests.copy.running import configured, errors, outcomes, run

SHARED = b"shared by all" * 1000
LARGE = bytes(range(256)) * 8192


async def side_by_side(text: str) -> dict[str, str]:
    """Copy all images of a configuration at the same time; return the errors."""
    configuration = load_text(text, "config.json", environment={})
    async with Engine(configuration, Options(), mover=BlobMove.run, environment={}) as engine:
        plans = await asyncio.gather(*(engine.plan(rule) for rule in configuration.rules))
        jobs = [job for plan in plans for job in plan]
        results = await asyncio.gather(*(engine.copy(job) for job in jobs), return_exceptions=True)
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, BaseException):
                engine.give_up(job, result)
        return errors(engine.outcomes.report())


@pytest.mark.parametrize("layer", [SHARED, LARGE], ids=["small", "large"])
async def test_two_tags_share_a_blob(fake_source: FakeRegistry, fake_destination: FakeRegistry, layer: bytes) -> None:
    # image-syncer uploads a blob twice that two images need at the same time.
    for tag in ("v1", "v2", "v3"):
        fake_source.image("a/app", tag, [layer, tag.encode()])
    fake_source.rules.append(Fault("blob-get", actions.delay(0.05)))
    images = {f"{fake_source.host}/a/app": f"{fake_destination.host}/a/app"}
    assert await side_by_side(configured(images, fake_source, fake_destination)) == {}
    digests = [entry.path for entry in fake_source.log.entries("blob-get")]
    # Three configs, three layers of their own, and one that they share.
    assert len(digests) == len(set(digests)) == 7
    assert fake_destination.count("upload-start") == 7


async def test_two_tags_share_a_child(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    children = [fake_source.image("a/app", None, [bytes([number])]) for number in range(3)]
    for tag in ("v1", "v2"):
        fake_source.index("a/app", tag, [children[0], children[1] if tag == "v1" else children[2]])
    images = {f"{fake_source.host}/a/app": f"{fake_destination.host}/a/app"}
    assert await side_by_side(configured(images, fake_source, fake_destination)) == {}
    assert fake_source.count("manifest-get") == 5
    assert fake_destination.count("manifest-put") == 5


@pytest.mark.parametrize("layer", [SHARED, LARGE], ids=["small", "large"])
async def test_several_destinations_are_fed_by_one_read(fake_source: FakeRegistry, layer: bytes) -> None:
    # image-syncer lists, reads and downloads once for each destination.
    digest = fake_source.image("a/app", "v1", [layer])
    fake_source.tag("a/app", "v2", "v1")
    with FakeRegistry() as one, FakeRegistry() as two, FakeRegistry() as three:
        registries = [one, two, three]
        images = {f"{fake_source.host}/a/app": [f"{each.host}/a/app" for each in registries]}
        report = await run(configured(images, fake_source, *registries))
        assert report.totals.copied == 6
        assert all(each.digest("a/app", "v1") == each.digest("a/app", "v2") == digest for each in registries)
        assert [each.count("upload-start") for each in registries] == [2, 2, 2]
    assert (fake_source.count("tags"), fake_source.count("blob-get")) == (1, 2)
    read = sum(entry.bytes_out for entry in fake_source.log.entries("blob-get"))
    assert (report.totals.bytes_read, report.totals.bytes_written) == (read, 3 * read)
    assert report.totals.blobs_copied == 6


@pytest.mark.parametrize("layer", [SHARED, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("kind", ["upload-start", "upload-patch", "upload-put", "manifest-put"])
async def test_a_destination_that_refuses_drops_out(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, layer: bytes, kind: str
) -> None:
    digest = fake_source.image("a/app", "v1", [layer])
    with FakeRegistry() as broken:
        broken.rules.append(Fault(kind, actions.refuse(403, "DENIED", "quota exceeded")))
        targets = [f"{broken.host}/a/app", f"{fake_destination.host}/a/app"]
        report = await run(configured({f"{fake_source.host}/a/app:v1": targets}, fake_source, broken, fake_destination))
        refused = not (kind == "upload-patch" and layer is SHARED)
        assert outcomes(report) == {
            f"{targets[0]}:v1": "failed" if refused else "copied",
            f"{targets[1]}:v1": "copied",
        }
        if refused:
            assert "quota exceeded" in errors(report)[f"{targets[0]}:v1"]
            assert broken.digest("a/app", "v1") is None
    assert fake_destination.digest("a/app", "v1") == digest
    assert fake_source.count("blob-get") == 2


@pytest.mark.parametrize("force", [False, True])
async def test_a_destination_that_cannot_be_opened_drops_out(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, tmp_path: Path, force: bool
) -> None:
    bad = tmp_path / "ca.pem"
    bad.write_text("no certificate")
    for tag in ("v1", "v2"):
        fake_source.image("a/app", tag)
    targets = ["registry.invalid/a/app", f"{fake_destination.host}/a/app"]
    auth = {"registry.invalid": {"ca_file": str(bad)}}
    text = configured({f"{fake_source.host}/a/app": targets}, fake_source, fake_destination, auth=auth)
    report = await run(text, force=force)
    assert outcomes(report) == {
        **{f"{targets[0]}:{tag}": "failed" for tag in ("v1", "v2")},
        **{f"{targets[1]}:{tag}": "copied" for tag in ("v1", "v2")},
    }
    assert "TLS files" in errors(report)[f"{targets[0]}:v1"]


async def test_a_failure_is_reported_once(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    fake_source.image("a/app", "v1")
    fake_destination.image("a/app", "v1")
    with FakeRegistry() as broken:
        looks = Match(("manifest-head", "manifest-get"))
        broken.rules.append(Fault(looks, actions.refuse(410, "GONE")))
        fake_source.rules.append(Fault(looks, actions.refuse(410, "GONE")))
        targets = [f"{broken.host}/a/app", f"{fake_destination.host}/a/app"]
        report = await run(configured({f"{fake_source.host}/a/app:v1": targets}, fake_source, broken, fake_destination))
    assert outcomes(report) == {f"{each}:v1": "failed" for each in targets}


async def test_two_repositories_of_one_registry_take_one_upload(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    digest = fake_source.image("a/app", "v1", [SHARED, LARGE])
    targets = [f"{fake_destination.host}/{name}/app" for name in ("one", "two", "three")]
    report = await run(configured({f"{fake_source.host}/a/app:v1": targets}, fake_source, fake_destination))
    assert report.totals.copied == 3
    assert all(fake_destination.digest(f"{name}/app", "v1") == digest for name in ("one", "two", "three"))
    assert (fake_source.count("blob-get"), fake_destination.count("upload-start")) == (3, 3)
    assert (fake_destination.count("mount"), report.totals.blobs_mounted, report.totals.blobs_copied) == (6, 6, 3)


@pytest.mark.parametrize("status", [202, 401, 403, 404, 405])
async def test_a_mount_that_is_refused_becomes_an_upload(fake_source: FakeRegistry, status: int) -> None:
    with FakeRegistry(Quirks(mount=status)) as destination:
        digest = fake_source.image("a/app", "v1", [SHARED, LARGE])
        targets = [f"{destination.host}/one/app", f"{destination.host}/two/app"]
        report = await run(configured({f"{fake_source.host}/a/app:v1": targets}, fake_source, destination))
        assert report.totals.copied == 2
        assert destination.digest("one/app", "v1") == destination.digest("two/app", "v1") == digest
        assert (destination.count("mount"), report.totals.blobs_mounted) == (3, 0)
        # The session that a 202 opens is used.
        assert destination.count("upload-start") == (3 if status == 202 else 6)
        assert not destination.storage.uploads


async def test_within_one_registry_blobs_are_mounted(fake_source: FakeRegistry) -> None:
    digest = fake_source.image("a/app", "v1", [SHARED, LARGE])
    fake_source.image("a/app", "v2", [SHARED, b"other"])
    images = {f"{fake_source.host}/a/app": f"{fake_source.host}/b/app"}
    report = await run(configured(images, fake_source))
    assert report.totals.copied == 2
    assert fake_source.digest("b/app", "v1") == digest
    assert fake_source.count("blob-get", "blob-head", "upload-start", "upload-put", "upload-patch") == 0
    assert fake_source.count("mount") == report.totals.blobs_mounted == 5
    assert (report.totals.bytes_read, report.totals.bytes_written) == (0, 0)


async def test_blobs_are_mounted_within_one_registry_with_tokens() -> None:
    with FakeRegistry(auth=Bearer({"ferry": "secret"})) as registry:
        digest = registry.image("a/app", "v1", [SHARED])
        auth = {registry.host: {"username": "ferry", "password": "secret", "insecure": True}}
        images = {f"{registry.host}/a/app": f"{registry.host}/b/app:v1"}
        assert errors(await run(configured({f"{registry.host}/a/app:v1": images.popitem()[1]}, auth=auth))) == {}
        assert registry.digest("b/app", "v1") == digest
        assert registry.count("blob-get") == 0


async def test_blobs_are_mounted_within_one_real_registry(
    source_registry: DistributionRegistry, repository: str
) -> None:
    raw.push_nested_index(source_registry.host, repository, "v1")
    source_registry.clear_log()
    images = {f"{source_registry.host}/{repository}:v1": f"{source_registry.host}/copy/{repository}"}
    assert errors(await run(configured(images, source_registry))) == {}
    assert source_registry.count("blob-get", "upload-put", "upload-start") == 0
    assert_same(source_registry, repository, source_registry, f"copy/{repository}", "v1")


async def test_a_tag_is_copied_within_one_repository(fake_source: FakeRegistry) -> None:
    digest = fake_source.image("a/app", "v1")
    images = {f"{fake_source.host}/a/app:v1": f"{fake_source.host}/a/app:stable"}
    assert errors(await run(configured(images, fake_source))) == {}
    assert fake_source.digest("a/app", "stable") == digest
    assert fake_source.count("blob-get", "mount", "upload-start") == 0


async def test_one_bad_source_does_not_spoil_another_with_the_same_blob(fake_destination: FakeRegistry) -> None:
    with FakeRegistry() as good, FakeRegistry() as bad:
        for registry in (good, bad):
            registry.image("a/app", "v1", [SHARED, LARGE])
        # The bad one is first, and the good one waits for it.
        good.rules.append(Fault("manifest-get", actions.delay(0.2)))
        bad.rules.append(Fault("blob-get", actions.delay(0.5)))
        bad.rules.append(Fault("blob-get", actions.refuse(404, "BLOB_UNKNOWN")))
        images = {
            f"{bad.host}/a/app:v1": f"{fake_destination.host}/bad/app",
            f"{good.host}/a/app:v1": f"{fake_destination.host}/good/app",
        }
        failed = await side_by_side(configured(images, good, bad, fake_destination))
        assert list(failed) == [f"{fake_destination.host}/bad/app:v1"]
        assert fake_destination.digest("good/app", "v1")


def add_wrong_size(registry: FakeRegistry, tag: str, layer: bytes, size: int) -> None:
    """Put an image there whose manifest gives a layer another size."""
    digest = registry.image("a/app", None, [layer, tag.encode()])
    manifest = (registry.manifest("a/app", digest) or b"").replace(
        f'"size": {len(layer)}'.encode(), f'"size": {size}'.encode()
    )
    registry.add_manifest("a/app", tag, manifest, registry.media_type("a/app", digest) or "")


@pytest.mark.parametrize("layer", [b"shared" * 1000, bytes(range(256)) * 4096], ids=["small", "large"])
@pytest.mark.parametrize("difference", [-1, 1, 10**9])
async def test_what_one_manifest_says_of_a_shared_layer_is_its_images_alone(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, layer: bytes, difference: int
) -> None:
    add_wrong_size(fake_source, "a-bad-one", layer, len(layer) + difference)
    good = [f"v{number}" for number in range(8)]
    for tag in good:
        fake_source.image("a/app", tag, [layer, tag.encode()])
    images = {f"{fake_source.host}/a/app": f"{fake_destination.host}/a/app"}
    failed = await side_by_side(configured(images, fake_source, fake_destination))
    assert fake_destination.tags("a/app") == good
    (words,) = failed.values()
    assert sha256(layer)[7:19] in words
    # Those that agree share one upload.
    committed = [entry.query.get("digest") for entry in fake_destination.log.entries("upload-put")]
    assert committed.count([sha256(layer)]) == 1


@pytest.fixture
def _soon_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "SLOW_AFTER", 0.2)
    monkeypatch.setattr(reader, "LOOK_EVERY", 0.05)


async def honest_beside_drip(slow: FakeRegistry, honest: FakeRegistry, destination: FakeRegistry, layer: bytes) -> None:
    """Copy v1 of both sources, the slow one first, to a/app:slow and a/app:honest."""
    drip = Fault(Match("blob-get", path=sha256(layer)), actions.slowly(100))
    slow.rules.append(drip)
    images = {
        f"{slow.host}/a/app:v1": f"{destination.host}/a/app:slow",
        f"{honest.host}/a/app:v1": f"{destination.host}/a/app:honest",
    }
    configuration = load_text(configured(images, slow, honest, destination), "config.json", environment={})
    async with asyncio.timeout(20), Engine(configuration, Options(), environment={}) as engine:
        first = asyncio.create_task(LocalRunner(engine).copy_rule(configuration.rules[0]))
        while not drip.hits:
            await asyncio.sleep(0.01)
        await LocalRunner(engine).copy_rule(configuration.rules[1])
        assert "honest" in destination.tags("a/app")
        await first
    assert destination.tags("a/app") == ["honest", "slow"]


@pytest.mark.usefixtures("_soon_slow")
@pytest.mark.parametrize("layer", [b"shared" * 1000, LARGE], ids=["small", "large"])
async def test_a_source_that_drips_holds_nobody_who_has_another(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, layer: bytes
) -> None:
    with FakeRegistry() as slow:
        slow.image("a/app", "v1", [layer])
        fake_source.image("a/app", "v1", [layer, b"other"])
        await honest_beside_drip(slow, fake_source, fake_destination, layer)


@pytest.mark.usefixtures("_soon_slow")
async def test_a_child_that_two_sources_have_is_held_by_neither(
    fake_source: FakeRegistry, fake_destination: FakeRegistry
) -> None:
    with FakeRegistry() as slow:
        for registry in (slow, fake_source):
            registry.index("a/app", "v1", {"linux/amd64": registry.image("a/app", None, [LARGE])})
        await honest_beside_drip(slow, fake_source, fake_destination, LARGE)
