"""Shares of memory for manifests: enough for nearly all, waited for by the others, and never waited for with one."""

import asyncio
import json
import tracemalloc

import pytest

from imageferry.copy import manifest_budget
from imageferry.copy.manifest_budget import HELD_PER_BYTE, ManifestBudget, ManifestReader, ShareExceeded
from imageferry.copy.manifest_contents import ENTRIES_LIMIT, blobs, children
from imageferry.reference import Reference
from imageferry.registry import Manifest
from imageferry.registry.errors import InvalidResponse
from imageferry.registry.manifest import OCI_INDEX, OCI_MANIFEST
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured, errors, outcomes, run

IMAGE = Reference.parse("a.example/app:v1")
ONE = Manifest.of(b"x" * 100, OCI_MANIFEST)


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share for one manifest, and a large one for three."""
    monkeypatch.setattr(manifest_budget, "IMAGE_SHARE", HELD_PER_BYTE * 100)
    monkeypatch.setattr(manifest_budget, "LARGE_SHARE", 3 * HELD_PER_BYTE * 100)


def holding(reader: ManifestReader, count: int) -> int:
    """Hold so many manifests, each within the one before; return how many."""
    if count:
        with reader.hold(ONE):
            return 1 + holding(reader, count - 1)
    return 0


@pytest.mark.usefixtures("shares")
async def test_who_needs_more_begins_again_with_the_large_share() -> None:
    begun = []

    async def work(reader: ManifestReader) -> int:
        begun.append(reader)
        return holding(reader, 3)

    assert await ManifestBudget().spend(IMAGE, work) == 3
    assert len(begun) == 2


@pytest.mark.usefixtures("shares")
async def test_who_needs_more_than_the_large_share_has_failed() -> None:
    async def work(reader: ManifestReader) -> int:
        return holding(reader, 4)

    with pytest.raises(
        InvalidResponse, match=r"copy a.example/app:v1: its manifests take more than .* damaged or hostile"
    ):
        await ManifestBudget().spend(IMAGE, work)


@pytest.mark.usefixtures("shares")
async def test_what_is_given_back_can_be_had_again_and_what_is_kept_cannot() -> None:
    reader = ManifestReader(HELD_PER_BYTE * 100 + 100, alone=False)
    for _ in range(3):
        assert holding(reader, 1) == 1
    reader.keep(ONE)
    assert holding(reader, 1) == 1
    with pytest.raises(ShareExceeded):
        reader.keep(Manifest.of(b"x" * (HELD_PER_BYTE * 100 + 1), OCI_MANIFEST))
    with pytest.raises(ShareExceeded):
        holding(reader, 2)


@pytest.mark.usefixtures("shares")
async def test_many_that_need_the_large_share_have_it_one_after_the_other() -> None:
    budget, now, most = ManifestBudget(4), 0, 0

    async def work(reader: ManifestReader) -> None:
        nonlocal now, most
        with reader.hold(ONE):
            await asyncio.sleep(0)
            with reader.hold(ONE):
                now += 1
                most = max(most, now)
                await asyncio.sleep(0)
                now -= 1

    async with asyncio.timeout(10):
        await asyncio.gather(*(budget.spend(IMAGE, work) for _ in range(50)))
    assert most == 1


async def test_no_more_images_than_shares_are_worked_with() -> None:
    budget, now, most = ManifestBudget(4), 0, 0

    async def work(reader: ManifestReader) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    await asyncio.gather(*(budget.spend(IMAGE, work) for _ in range(50)))
    assert most == 4


async def test_a_registry_that_holds_its_shares_holds_up_no_other() -> None:
    budget = ManifestBudget(2)
    hanging = [asyncio.create_task(budget.spend(IMAGE, lambda reader: asyncio.Event().wait())) for _ in range(9)]
    await asyncio.sleep(0)

    async def work(reader: ManifestReader) -> str:
        return "done"

    try:
        async with asyncio.timeout(1):
            assert await budget.spend(Reference.parse("b.example/app:v1"), work) == "done"
    finally:
        for task in hanging:
            task.cancel()


@pytest.mark.parametrize(
    ("sizes", "alone", "expected"),
    [
        ([], False, 16),
        ([0], False, 16),
        ([10, 20], False, 16),
        ([100, 1], False, 5),
        ([9999], False, 1),
        ([1], True, 1),
    ],
)
def test_as_many_children_at_once_as_fit_the_share(sizes: list[int], alone: bool, expected: int) -> None:
    assert ManifestReader(HELD_PER_BYTE * 500, alone=alone).at_once(sizes, 16) == expected


@pytest.mark.parametrize("key", ["manifests", "layers"])
def test_what_is_read_from_a_manifest_takes_no_more_than_is_counted(key: str) -> None:
    # As small as an entry can be.
    entries = ",".join(f'{{"digest":"sha256:{number:064x}","size":{number + 1000}}}' for number in range(ENTRIES_LIMIT))
    manifest = Manifest.of(f'{{"{key}":[{entries}]}}'.encode(), OCI_INDEX if key == "manifests" else OCI_MANIFEST)
    del entries
    tracemalloc.start()
    try:
        held = children(manifest, 0) if key == "manifests" else blobs(manifest)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(held) == ENTRIES_LIMIT
    assert taken + len(manifest.body) < HELD_PER_BYTE * len(manifest.body)


@pytest.mark.parametrize("share", [1, 4000])
@pytest.mark.parametrize("options", [{}, {"platforms": ["linux/amd64"]}], ids=["all", "filtered"])
async def test_an_image_arrives_whole_whatever_its_share(
    fake_source: FakeRegistry,
    fake_destination: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
    share: int,
    options: dict[str, list[str]],
) -> None:
    monkeypatch.setattr(manifest_budget, "IMAGE_SHARE", share)
    inner = [
        fake_source.index(
            "a/app",
            None,
            {
                each: fake_source.image("a/app", None, [bytes([number])], each)
                for each in ("linux/amd64", "linux/arm64")
            },
        )
        for number in range(2)
    ]
    fake_source.index("a/app", "v1", inner)
    rule = {"from": f"{fake_source.host}/a/app:v1", "to": f"{fake_destination.host}/a/app", **options}
    text = configured([rule], fake_source, fake_destination)
    (image,) = (await run(text)).images
    assert (image.outcome, image.error) == ("copied", None)
    held = fake_destination.storage.repository("a/app").manifests
    assert len(held) == 1 + 2 + (2 if options else 4)
    assert image.bytes >= sum(len(manifest.data) for manifest in held.values())
    assert set(outcomes(await run(text)).values()) == {"up_to_date"}


@pytest.mark.parametrize("force", [False, True])
async def test_indexes_that_a_filter_makes_are_held_within_the_share(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    monkeypatch.setattr(manifest_budget, "IMAGE_SHARE", 10_000)
    monkeypatch.setattr(manifest_budget, "LARGE_SHARE", 100_000)
    leaf = fake_source.image("a/app", None)
    inner = []
    for number in range(20):
        digest = fake_source.index("a/app", None, {"linux/amd64": leaf, "linux/s390x": leaf})
        content = json.loads(fake_source.manifest("a/app", digest) or b"") | {"n": number, "junk": "x" * 8000}
        inner.append(fake_source.add_manifest("a/app", None, json.dumps(content).encode(), OCI_INDEX))
    fake_source.index("a/app", "v1", inner)
    fake_destination.index("a/app", "v1", [fake_destination.image("a/app", None)])
    rule = {"from": f"{fake_source.host}/a/app:v1", "to": f"{fake_destination.host}/a/app", "platforms": ["*/amd64"]}
    report = await run(configured([rule], fake_source, fake_destination), force=force)
    assert "its manifests take more than" in next(iter(errors(report).values()))
    assert fake_source.count("manifest-get") < 20
