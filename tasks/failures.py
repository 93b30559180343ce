"""What failed, in the log of the flow run: on its page in Prefect that is what one sees first."""

from __future__ import annotations

from prefect.logging import get_run_logger

from imageferry import words
from tasks.current import Current

#: Failures that the log of a run tells one by one.
LINES = 50


def tell_failures(run: Current) -> None:
    """Log, in the run of this context, each failure that has not been told before."""
    failures = run.ferry.outcomes.failures
    told, run.failures_told = run.failures_told, len(failures)
    logger = get_run_logger()
    for image in failures[told:LINES]:
        logger.error("%s", words.printable(f"failed {image.source} -> {image.destination}: {image.error}"))
    if (more := len(failures) - max(told, LINES)) > 0:
        logger.error("and %s failed", words.count(more, "more image", "more images"))
