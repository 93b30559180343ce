"""Rules that are copied in parts: each part plans and copies its own images alone."""

from dataclasses import replace

import pytest

from imageferry.config import load_text
from imageferry.copy.batches import Batch, BatchError, narrowed, split_into_batches
from imageferry.copy.engine import Engine
from imageferry.copy.job import CopyJob
from imageferry.copy.options import Options
from imageferry.copy.runner import LocalRunner
from imageferry.reference import Reference
from imageferry.report.outcomes import ImageOutcome, Outcome
from imageferry.selection import PlatformFilter
from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured


def works(count: int) -> list[CopyJob]:
    place = Reference("b.example", "x/app")
    source = Reference("a.example", "x/app")
    return [CopyJob(source.at(f"v{n}"), (place.at(f"v{n}"),), PlatformFilter()) for n in range(count)]


@pytest.mark.parametrize(
    ("images", "size", "sizes"),
    [(1, 500, [1]), (500, 500, [500]), (501, 500, [250, 251]), (7, 3, [2, 2, 3]), (3, 1, [1, 1, 1])],
)
def test_a_rule_is_split_into_parts_of_about_the_same_size(images: int, size: int, sizes: list[int]) -> None:
    parts = split_into_batches({"rule": works(images)}, size)
    assert [len(part.works) for part in parts] == sizes
    assert [image for part in parts for image in part.images] == [f"v{n}" for n in range(images)]
    assert [part.name for part in parts] == (
        ["rule"] if len(sizes) == 1 else [f"rule, part {n} of {len(sizes)}" for n in range(1, len(sizes) + 1)]
    )


async def test_a_part_looks_at_its_own_images_alone(fake_source: FakeRegistry, fake_destination: FakeRegistry) -> None:
    for number in range(6):
        fake_source.image("a/app", f"v{number}", [b"new", bytes([number])])
        fake_destination.image("b/app", f"v{number}", [b"old"])
    images = {f"{fake_source.host}/a/app:/^v[0-4]$/": f"{fake_destination.host}/b/app"}
    configuration = load_text(configured(images, fake_source, fake_destination), "c", environment={})
    (name,) = images
    async with Engine(narrowed(configuration, name, ["v1", "v4"]), Options(), {}) as engine:
        runner = LocalRunner(engine)
        engine.deliveries.move = runner.move
        await runner.run(engine.configuration.rules)
        assert sorted(image.source.rpartition(":")[2] for image in engine.outcomes.images) == ["v1", "v4"]
    heads = [entry.path.rpartition("/")[2] for entry in fake_source.log.entries("manifest-head")]
    assert sorted(heads) == ["v1", "v4"]
    assert fake_source.count("tags") == 0
    assert fake_destination.digest("b/app", "v4") == fake_source.digest("a/app", "v4")
    assert fake_destination.digest("b/app", "v3") != fake_source.digest("a/app", "v3")


def test_images_that_are_listed_keep_their_names_at_the_destination() -> None:
    name = "a.example/x/app:v1,v2,v3"
    configuration = load_text(
        configured({name: "b.example/y/app:one,two,three", "a.example/x/other": "b.example/z"}), "c", environment={}
    )
    (rule,) = narrowed(configuration, name, ["v3", "v1"]).rules
    assert [item.tag for item in rule.source.items] == ["v3", "v1"]
    assert rule.destinations[0].targets == ("three", "one")
    assert narrowed(configuration, name).rules == (configuration.rules[0],)


@pytest.mark.parametrize(
    ("rule", "images", "told"),
    [
        ("a.example/x/none", None, "no rule a.example/x/none"),
        ("a.example/x/app:v1", ["v2"], "does not copy v2"),
        ("a.example/x/some:/^v/", ["w1"], "w1 is none that the rule selects"),
    ],
)
def test_what_a_configuration_does_not_have_is_told(rule: str, images: list[str] | None, told: str) -> None:
    text = configured({"a.example/x/app:v1": "b.example/app", "a.example/x/some:/^v/": "b.example/some"})
    with pytest.raises(BatchError, match=told):
        narrowed(load_text(text, "c", environment={}), rule, images)


async def test_what_was_told_of_a_part_is_the_outcome_of_its_images() -> None:
    part = Batch("rule", 1, 1, tuple(works(4)))
    ends = [Outcome.COPIED, Outcome.FAILED, Outcome.UP_TO_DATE]
    told = [
        ImageOutcome(work.name, str(work.destinations[0]), end, error="why" if end is Outcome.FAILED else None)
        for work, end in zip(part.works, ends, strict=False)
    ]
    stranger = replace(told[0], source="a.example/x/other:v1")
    async with Engine(
        load_text(configured({"a.example/a": "b.example/b"}), "c", environment={}), Options(), {}
    ) as engine:
        part.take(engine, [*told, stranger])
        assert engine.outcomes.images == told
        assert not part.is_finished
        assert list(engine.outcomes.retry_platforms) == [(told[1].source, told[1].destination)]
        # A second run of the part finds what the first one has copied, and could not tell of.
        last = ImageOutcome(part.works[3].name, str(part.works[3].destinations[0]), Outcome.UP_TO_DATE)
        part.take(engine, [*told, last], again=True)
        assert part.is_finished
        assert engine.outcomes.images == [*told, replace(last, outcome=Outcome.COPIED)]
