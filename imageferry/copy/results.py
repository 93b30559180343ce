"""What became of the images of a run, as those who plan and copy them report it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from imageferry.copy.batches import Batch
from imageferry.copy.errors import DeliveryError
from imageferry.copy.job import CopyJob
from imageferry.errors import ImageferryError
from imageferry.existing_tags import ExistingTags
from imageferry.model import Destination, Rule
from imageferry.reference import Reference
from imageferry.report.outcomes import ImageOutcome, Outcome, Outcomes, Selection
from imageferry.selection import PlatformFilter
from imageferry.tag_policy import TagSelection
from imageferry.text import escape_control

logger = logging.getLogger(__name__)

# Rules whose choice of tags is logged in a line each at info; there may be ten thousand.
SELECTIONS_LOGGED = 100


class Results:
    """Records the outcome of each image at each destination, once."""

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes
        # Called with each job whose outcome is known at every destination.
        self.on_finished: Callable[[CopyJob], None] = _ignore
        # Selections that were logged.
        self._choices = 0

    def add_planned(self, images: int) -> None:
        """Count images at their destinations that the plan has found."""
        self._outcomes.planned += images

    def add(self, outcome: ImageOutcome) -> None:
        """Record the outcome of an image that needs no job: up to date, kept, or what a dry run would copy."""
        self._outcomes.add(outcome)

    def finish(self, job: CopyJob, destination: Reference, outcome: ImageOutcome) -> None:
        """Record the outcome of a job at one destination."""
        job.finished.add(destination)
        self._outcomes.add(outcome)
        if job.is_finished:
            self.on_finished(job)

    def note(self, text: str) -> None:
        """Record what the user should know and what is no image's outcome."""
        self._outcomes.note(text)

    def add_selection(self, rule: Rule, selection: TagSelection) -> None:
        """Record and log what the tag policy of a rule made of the tags of its source."""
        repository = str(rule.source.repository)
        left_out = selection.left_out()
        explained = selection.explain()
        lines = (f"{repository}: {selection.describe()}", *([explained] if explained else []))
        recorded = Selection(
            rule=rule.name,
            repository=repository,
            listed=len(selection.listed),
            selected=len(selection.selected),
            dropped={stage: len(tags) for stage, tags in left_out.items()},
            undated=selection.undated,
            lines=lines,
        )
        if recorded.is_choice:
            self._choices += 1
            level = logging.INFO if self._choices <= SELECTIONS_LOGGED else logging.DEBUG
            # The flow logs it to Prefect.
            logger.log(level, "%s", escape_control("; ".join(lines)), extra={"send_to_api": False})
            if self._choices == SELECTIONS_LOGGED:
                words = "what further rules choose is logged as debug, and in the report"
                logger.info(words, extra={"send_to_api": False})
        if logger.isEnabledFor(logging.DEBUG):
            for stage, tags in left_out.items():
                logger.debug("%s: dropped by %s: %s", repository, stage, ", ".join(tags), extra={"send_to_api": False})
        self._outcomes.selections.append(recorded)

    def give_up(self, job: CopyJob, error: BaseException) -> None:
        """Record every destination of the job that is not finished as failed.

        Each gets the error of its own where ``error`` is a ``DeliveryError`` that names it.
        """
        failures = error.failures if isinstance(error, DeliveryError) else {}
        for destination in job.destinations:
            if destination not in job.finished:
                job.finished.add(destination)
                error_there = failures.get(str(destination), error)
                self.fail(job.name, str(destination), job.platforms, error_there, job.existing)
        self.on_finished(job)

    def fail(
        self,
        source: str,
        destination: str,
        platforms: PlatformFilter,
        error: BaseException,
        existing: ExistingTags,
    ) -> None:
        """Record an image that failed, with the error's message, and the keys of its rule."""
        self._outcomes.retry_platforms[source, destination] = [str(platform) for platform in platforms.platforms]
        self._outcomes.retry_options[source, destination] = existing.as_written()
        message = str(error) if isinstance(error, ImageferryError) else f"unexpected {type(error).__name__}: {error}"
        self._outcomes.add(ImageOutcome(source=source, destination=destination, outcome=Outcome.FAILED, error=message))

    def fail_rule(self, rule: Rule, platforms: PlatformFilter, error: BaseException) -> list[tuple[str, str]]:
        """Record a rule as failed, as it is written: the whole of it is to be run again, with its filter.

        Return the source and the destination of each failure.
        """
        self.add_planned(len(rule.destinations))
        failures = []
        for number, destination in enumerate(rule.destinations):
            # "" is the default destination, which other flags would change.
            written = (rule.written and rule.written[number]) or str(destination.repository)
            self.fail(rule.name, written, platforms, error, rule.existing)
            self._keep_policy(rule, written)
            failures.append((rule.name, written))
        return failures

    def retry_as(self, image: tuple[str, str], rule: Rule, destination: Destination) -> None:
        """Have a failed image run again as a part of its rule: a rule for it alone would not be taken."""
        written = dict(zip(rule.destinations, rule.written, strict=False)).get(destination) or str(
            destination.repository
        )
        self._outcomes.retry_as[image] = (rule.name, written)
        # The filter is the rule's own or its file's, whatever holds for the whole run.
        platforms = rule.platforms or rule.default_platforms
        self._outcomes.retry_platforms[rule.name, written] = [str(platform) for platform in platforms.platforms]
        self._outcomes.retry_options[rule.name, written] = rule.existing.as_written()
        self._keep_policy(rule, written)

    def _keep_policy(self, rule: Rule, written: str) -> None:
        """Have a rule that is run again as a whole choose its tags as it does now."""
        if rule.source.policy is not None:
            self._outcomes.retry_tags[rule.name, written] = rule.source.policy.as_written()

    def merge(self, batch: Batch, images: Iterable[ImageOutcome], *, again: bool = False) -> None:
        """Record what another run reported of the batch's images; those that it did not report stay unfinished.

        ``again``: another run of the batch came before it and was lost before it could report. What is up to date now
        was copied by that one.
        """
        reported = {(image.source, image.destination): image for image in images}
        for job in batch.jobs:
            for destination in job.destinations:
                image = reported.get((job.name, str(destination)))
                if image is None or destination in job.finished:
                    continue
                if image.outcome is Outcome.FAILED:
                    key = image.source, image.destination
                    self._outcomes.retry_platforms[key] = [str(platform) for platform in job.platforms.platforms]
                    self._outcomes.retry_options[key] = job.existing.as_written()
                elif again and image.outcome is Outcome.UP_TO_DATE:
                    image = replace(image, outcome=Outcome.COPIED)
                self.finish(job, destination, image)


def _ignore(job: CopyJob) -> None:
    """Do nothing with a job that is finished."""
