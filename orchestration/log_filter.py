"""Prefect's own log lines about task runs, without tracebacks for what a user or a registry caused."""

from __future__ import annotations

import logging

from imageferry.errors import ImageferryError
from orchestration.run_context import run_context
from orchestration.server.monitor import ServerLost

# How Prefect's line begins for a task or flow run that is cancelled from without.
_CRASH = "Crash detected!"


class WithoutTraceback(logging.Filter):
    """Keeps the line and drops the traceback where the exception already says what failed, where and why.

    Of a run that was stopped it drops the line too with which Prefect announces a crash for each task that is ended.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Take every record but those; one of a known error without its traceback."""
        if _of_stopped_run() and record.getMessage().startswith(_CRASH):
            return False
        if record.exc_info and isinstance(record.exc_info[1], ImageferryError | ServerLost):
            record.exc_info = None
        return True


def _of_stopped_run() -> bool:
    try:
        return run_context().stop.is_set()
    except LookupError:
        return False


def drop_known_tracebacks() -> None:
    """Have Prefect log the engine's errors as one line each."""
    for name in ("prefect.task_runs", "prefect.flow_runs"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, WithoutTraceback) for known in logger.filters):
            logger.addFilter(WithoutTraceback())
