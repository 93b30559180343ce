"""Rules that are copied in batches: each batch plans and copies its own images alone."""

import pytest

from imageferry.config import load_text
from imageferry.copy.batches import split_into_batches
from imageferry.copy.engine import Engine
from imageferry.copy.job import CopyJob
from imageferry.copy.options import Options
from imageferry.copy.runner import LocalRunner
from imageferry.reference import Reference
from imageferry.selection import PlatformFilter
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured


def jobs(count: int) -> list[CopyJob]:
    destination = Reference("b.example", "x/app")
    source = Reference("a.example", "x/app")
    return [CopyJob(source.at(f"v{n}"), (destination.at(f"v{n}"),), PlatformFilter()) for n in range(count)]


@pytest.mark.parametrize(
    ("images", "size", "sizes"),
    [(1, 500, [1]), (500, 500, [500]), (501, 500, [250, 251]), (7, 3, [2, 2, 3]), (3, 1, [1, 1, 1])],
)
def test_a_rule_is_split_into_batches_of_about_the_same_size(images: int, size: int, sizes: list[int]) -> None:
    batches = split_into_batches({"rule": jobs(images)}, size)
    assert [len(batch.jobs) for batch in batches] == sizes
    assert [image for batch in batches for image in batch.images] == [f"v{n}" for n in range(images)]
    assert [batch.name for batch in batches] == (
        ["rule"] if len(sizes) == 1 else [f"rule, part {n} of {len(sizes)}" for n in range(1, len(sizes) + 1)]
    )


async def test_a_batch_looks_up_its_own_images_alone(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    for number in range(6):
        fake_source.image("a/app", f"v{number}", [b"new", bytes([number])])
        fake_destination.image("b/app", f"v{number}", [b"old"])
    images = {f"{fake_source.host}/a/app:/^v[0-4]$/": f"{fake_destination.host}/b/app"}
    configuration = load_text(configured(images, fake_source, fake_destination), "c", environment={})
    (name,) = images
    async with Engine(configuration.only(name, ["v1", "v4"]), Options(), environment={}) as engine:
        await LocalRunner(engine).run(engine.configuration.rules)
        assert sorted(image.source.rpartition(":")[2] for image in engine.outcomes.images) == ["v1", "v4"]
    heads = [entry.path.rpartition("/")[2] for entry in fake_source.log.entries("manifest-head")]
    assert sorted(heads) == ["v1", "v4"]
    assert fake_source.count("tags") == 0
    assert fake_destination.digest("b/app", "v4") == fake_source.digest("a/app", "v4")
    assert fake_destination.digest("b/app", "v3") != fake_source.digest("a/app", "v3")
