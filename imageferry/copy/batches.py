"""What a rule has to copy in batches, each small enough for a run of its own on another machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from imageferry.copy.job import CopyJob


@dataclass(frozen=True, slots=True)
class Batch:
    """Some of the images that a rule has to copy: batch ``number``, from 1, of ``count``."""

    rule: str
    number: int
    count: int
    jobs: tuple[CopyJob, ...]

    @property
    def name(self) -> str:
        """The rule's name, and which part of it this is where there are several."""
        return self.rule if self.count == 1 else f"{self.rule}, part {self.number} of {self.count}"

    @property
    def images(self) -> list[str]:
        """Its images as the rule's source names them: their tags, or digests where they have no tag."""
        return [job.tag_or_digest for job in self.jobs]

    @property
    def withheld(self) -> list[str]:
        """The names at the rule's destinations that these images must not be copied to: another rule writes there."""
        return [str(destination) for job in self.jobs for destination in job.withheld]

    @property
    def is_finished(self) -> bool:
        """Whether the outcome of every image is known."""
        return all(job.is_finished for job in self.jobs)


def split_into_batches(jobs_by_rule: Mapping[str, Iterable[CopyJob]], size: int) -> list[Batch]:
    """Return each rule's jobs in batches of at most ``size`` images and of about the same length."""
    batches = []
    for rule, rule_jobs in jobs_by_rule.items():
        jobs = tuple(rule_jobs)
        count = -(-len(jobs) // size)
        bounds = [len(jobs) * number // count for number in range(count + 1)]
        batches += [
            Batch(rule, number, count, jobs[start:end]) for number, (start, end) in enumerate(pairwise(bounds), 1)
        ]
    return batches
