"""The figures of each rule of a run, gathered from what became of its images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from imageferry.model import Rule
from imageferry.report.outcomes import ImageOutcome, Outcome


@dataclass(slots=True)
class RuleStats:
    """What became of one rule's images: counts, bytes sent, seconds taken, and those that failed."""

    rule: str
    copied: int = 0
    up_to_date: int = 0
    skipped: int = 0
    would_copy: int = 0
    bytes: int = 0
    seconds: float = 0.0
    failures: list[ImageOutcome] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """How many images failed."""
        return len(self.failures)

    @property
    def images(self) -> int:
        """How many images the rule had."""
        return self.copied + self.up_to_date + self.skipped + self.would_copy + self.failed

    def add(self, image: ImageOutcome) -> None:
        """Take one outcome in."""
        self.bytes += image.bytes
        if image.outcome is Outcome.FAILED:
            self.failures.append(image)
        else:
            setattr(self, image.outcome, getattr(self, image.outcome) + 1)


def stats_by_rule(images: Iterable[ImageOutcome], rules: Iterable[Rule]) -> list[RuleStats]:
    """Give the figures of the rules that had images, in the rules' order.

    An image that two rules bring to the same repository is counted for the first of them.
    """
    rules = list(rules)
    owners = _Owners(rules)
    figures: dict[str, RuleStats] = {}
    for image in images:
        name = owners.of(image)
        figures.setdefault(name, RuleStats(name)).add(image)
    order = {rule.name: number for number, rule in enumerate(rules)}
    return sorted(figures.values(), key=lambda each: order.get(each.rule, len(order)))


class _Owners:
    """Finds the rule of an image by its two repositories, and among several by its tag or digest."""

    def __init__(self, rules: list[Rule]) -> None:
        self._named = {rule.name: rule for rule in rules}
        self._between: defaultdict[tuple[str, str], list[Rule]] = defaultdict(list)
        for rule in rules:
            for place in rule.destinations:
                self._between[rule.source.repository.name, place.repository.name].append(rule)

    def of(self, image: ImageOutcome) -> str:
        """Give the name of the rule; the image's source where there is none."""
        named = self._named.get(image.source)
        if named is not None and image.destination in named.written:
            # A rule that could not be planned is reported as it is written.
            return named.name
        candidates = self._between.get((_repository(image.source), _repository(image.destination)), [])
        if len(candidates) > 1:
            candidates = [rule for rule in candidates if _takes(rule, image.source)] or candidates
        return candidates[0].name if candidates else image.source


def _repository(text: str) -> str:
    """Give ``host/repository`` of ``host[:port]/repository[:tag][@digest]``."""
    head, slash, last = text.partition("@")[0].rpartition("/")
    return head + slash + last.partition(":")[0]


def _takes(rule: Rule, source: str) -> bool:
    if rule.source.items:
        return any(str(item) == source for item in rule.source.items)
    if rule.source.pattern:
        tag = source.partition("@")[0].rpartition("/")[2].partition(":")[2]
        return bool(list(rule.source.pattern.select([tag])))
    return True
