"""What a rule has to copy in parts, each small enough for a run of its own on another machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from imageferry.copy.job import CopyJob
from imageferry.errors import ImageferryError
from imageferry.model import Configuration, Destination, Rule, Source
from imageferry.reference import Reference
from imageferry.report.outcomes import ImageOutcome, Outcome

if TYPE_CHECKING:
    from imageferry.copy.engine import Engine


class BatchError(ImageferryError):
    """A configuration has not what a run is to copy of it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some of the images that a rule has to copy: part ``number``, from 1, of ``count``."""

    rule: str
    number: int
    count: int
    works: tuple[CopyJob, ...]

    @property
    def name(self) -> str:
        """What it is called: the rule, and which part of it where there are several."""
        return self.rule if self.count == 1 else f"{self.rule}, part {self.number} of {self.count}"

    @property
    def images(self) -> list[str]:
        """Its images as the rule's source names them: their tags, or digests where they have no tag."""
        return [work.tag_or_digest for work in self.works]

    def take(self, engine: Engine, told: Iterable[ImageOutcome], *, again: bool = False) -> None:
        """Note what became of its images elsewhere; those that nothing is told of are left as they are.

        ``again``: what is up to date now was copied by a run of this part which could not tell of it any more.
        """
        known = {(image.source, image.destination): image for image in told}
        for work in self.works:
            for place in work.destinations:
                image = known.get((work.name, str(place)))
                if image is None or place in work.finished:
                    continue
                if image.outcome is Outcome.FAILED:
                    key = image.source, image.destination
                    engine.outcomes.retry_platforms[key] = [str(platform) for platform in work.platforms.platforms]
                elif again and image.outcome is Outcome.UP_TO_DATE:
                    image = replace(image, outcome=Outcome.COPIED)
                engine.settle(work, place, image)

    @property
    def is_finished(self) -> bool:
        """Whether it is known of every image what became of it."""
        return all(work.is_finished for work in self.works)


def split_into_batches(work: Mapping[str, Iterable[CopyJob]], size: int) -> list[Batch]:
    """Give the parts of what each rule has to copy, ``size`` images at most and about as many in each."""
    parts = []
    for rule, works in work.items():
        images = tuple(works)
        count = -(-len(images) // size)
        bounds = [len(images) * number // count for number in range(count + 1)]
        parts += [
            Batch(rule, number, count, images[start:end]) for number, (start, end) in enumerate(pairwise(bounds), 1)
        ]
    return parts


def narrowed(configuration: Configuration, name: str, images: Sequence[str] | None = None) -> Configuration:
    """Give the configuration with one of its rules alone, and of that rule only these tags and digests; None: all.

    Raises ``PartError`` where it has no such rule, or the rule no such image.
    """
    rule = next((rule for rule in configuration.rules if rule.name == name), None)
    if rule is None:
        raise BatchError(f"the configuration has no rule {name}: expected a source as it is written there")
    return replace(configuration, rules=(rule if images is None else _of_images(rule, images),))


def _of_images(rule: Rule, images: Sequence[str]) -> Rule:
    wanted = tuple(dict.fromkeys(images))
    known = {item.tag or item.target: number for number, item in enumerate(rule.source.items)}
    if not known:
        return replace(rule, source=Source(rule.source.repository, _selected(rule.source, wanted)))
    if unknown := [image for image in wanted if image not in known]:
        raise BatchError(f"rule {rule.name} does not copy {unknown[0]}")
    numbers = [known[image] for image in wanted]
    source = Source(rule.source.repository, tuple(rule.source.items[number] for number in numbers))
    return replace(rule, source=source, destinations=tuple(_at(place, numbers) for place in rule.destinations))


def _selected(source: Source, tags: tuple[str, ...]) -> tuple[Reference, ...]:
    """Give the references of tags, of all that the registry has or of those that a pattern selects."""
    selected = set(source.pattern.select(tags)) if source.pattern else set(tags)
    if other := [tag for tag in tags if tag not in selected]:
        raise BatchError(f"the tag {other[0]} is none that the rule selects")
    return tuple(source.repository.at(tag) for tag in tags)


def _at(place: Destination, numbers: list[int]) -> Destination:
    return replace(place, targets=tuple(place.targets[number] for number in numbers)) if place.targets else place
