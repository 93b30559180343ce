"""What failed, in the log of the flow run: on its page in Prefect that is what one sees first."""

from __future__ import annotations

from prefect.logging import get_run_logger

from imageferry.text import escape_control, format_count
from orchestration.run_context import RunContext

# Failures that are logged one by one.
FAILURES_LOGGED = 50

# Rules of which it is logged which tags they choose.
CHOICES_LOGGED = 50


def log_notes(run: RunContext) -> None:
    """Log, in the run of this context, each note of the run that has not been logged before."""
    notes = run.engine.outcomes.notes
    logged, run.notes_logged = run.notes_logged, len(notes)
    logger = get_run_logger()
    for note in notes[logged:]:
        logger.info("%s", escape_control(note))


def log_choices(run: RunContext) -> None:
    """Log, in the run of this context, what tag policies left out and has not been logged before."""
    choices = run.engine.outcomes.choices
    logged, run.choices_logged = run.choices_logged, len(choices)
    logger = get_run_logger()
    for choice in choices[logged:CHOICES_LOGGED]:
        logger.info("%s", escape_control("; ".join(choice.lines)))
    if (more := len(choices) - max(logged, CHOICES_LOGGED)) > 0:
        logger.info("and %s tags: see the report", format_count(more, "more rule chooses", "more rules choose"))


def log_end(run: RunContext) -> None:
    """Log, in the flow run of this context, the failures, choices and notes that have not been logged before."""
    log_failures(run)
    log_choices(run)
    log_notes(run)


def log_failures(run: RunContext) -> None:
    """Log, in the run of this context, each failure that has not been logged before."""
    failures = run.engine.outcomes.failures
    logged, run.failures_logged = run.failures_logged, len(failures)
    logger = get_run_logger()
    for image in failures[logged:FAILURES_LOGGED]:
        logger.error("%s", escape_control(f"failed {image.source} -> {image.destination}: {image.error}"))
    if (more := len(failures) - max(logged, FAILURES_LOGGED)) > 0:
        logger.error("and %s failed", format_count(more, "more image", "more images"))
