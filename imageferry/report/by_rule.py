"""The statistics of each rule of a run, from the outcomes of its images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from imageferry.model import Rule
from imageferry.report.outcomes import ImageOutcome, Outcome


@dataclass(slots=True)
class RuleStats:
    """One rule's images: counts by outcome, bytes sent, seconds taken, and those that failed."""

    rule: str
    copied: int = 0
    up_to_date: int = 0
    kept: int = 0
    skipped: int = 0
    would_copy: int = 0
    bytes: int = 0
    seconds: float = 0.0
    failures: list[ImageOutcome] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """The number of images that failed."""
        return len(self.failures)

    @property
    def images(self) -> int:
        """The number of images of the rule."""
        return self.copied + self.up_to_date + self.kept + self.skipped + self.would_copy + self.failed

    def add(self, image: ImageOutcome) -> None:
        """Add one outcome."""
        self.bytes += image.bytes
        match image.outcome:
            case Outcome.COPIED:
                self.copied += 1
            case Outcome.UP_TO_DATE:
                self.up_to_date += 1
            case Outcome.KEPT:
                self.kept += 1
            case Outcome.SKIPPED:
                self.skipped += 1
            case Outcome.FAILED:
                self.failures.append(image)
            case Outcome.WOULD_COPY:
                self.would_copy += 1


def stats_by_rule(images: Iterable[ImageOutcome], rules: Iterable[Rule]) -> list[RuleStats]:
    """Return the statistics of the rules that had images, in the rules' order.

    An image that two rules copy to the same repository is counted for the first of them.
    """
    rules = list(rules)
    index = _RuleIndex(rules)
    stats: dict[str, RuleStats] = {}
    for image in images:
        name = index.find(image)
        stats.setdefault(name, RuleStats(name)).add(image)
    order = {rule.name: number for number, rule in enumerate(rules)}
    return sorted(stats.values(), key=lambda each: order.get(each.rule, len(order)))


class _RuleIndex:
    """Finds the rule of an image by its two repositories, and by its tag or digest if several match."""

    def __init__(self, rules: list[Rule]) -> None:
        self._by_name = {rule.name: rule for rule in rules}
        self._by_repositories: defaultdict[tuple[str, str], list[Rule]] = defaultdict(list)
        for rule in rules:
            for destination in rule.destinations:
                self._by_repositories[rule.source.repository.name, destination.repository.name].append(rule)

    def find(self, image: ImageOutcome) -> str:
        """Return the name of the rule; the image's source if there is none."""
        named = self._by_name.get(image.source)
        if named is not None and image.destination in _without_plan(named):
            # A rule that could not be planned is reported with its source and destination as written.
            return named.name
        candidates = self._by_repositories.get((_repository(image.source), _repository(image.destination)), [])
        if len(candidates) > 1:
            candidates = [rule for rule in candidates if _selects(rule, image.source)] or candidates
        return candidates[0].name if candidates else image.source


def _without_plan(rule: Rule) -> set[str]:
    """Return the destinations with which a rule is reported that could not be planned."""
    return {*rule.written, *(str(each.repository) for each in rule.destinations)}


def _repository(text: str) -> str:
    """Return ``host/repository`` of ``host[:port]/repository[:tag][@digest]``."""
    head, slash, last = text.partition("@")[0].rpartition("/")
    return head + slash + last.partition(":")[0]


def _selects(rule: Rule, source: str) -> bool:
    """Return whether a rule copies the image ``host/repository[:tag][@digest]``."""
    if rule.source.items:
        return any(str(item) == source for item in rule.source.items)
    tag = source.partition("@")[0].rpartition("/")[2].partition(":")[2]
    if rule.source.pattern:
        return bool(list(rule.source.pattern.select([tag])))
    if rule.source.policy:
        return rule.source.policy.may_take(tag)
    return True
