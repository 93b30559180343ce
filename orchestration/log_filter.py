"""Prefect's own log lines about task runs, without tracebacks for what a user or a registry caused."""

from __future__ import annotations

import logging

from imageferry.errors import ImageferryError
from orchestration.server.monitor import ServerLost


class WithoutTraceback(logging.Filter):
    """Keeps the line and drops the traceback where the exception already says what failed, where and why."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Take every record; one of a known error without its traceback."""
        if record.exc_info and isinstance(record.exc_info[1], ImageferryError | ServerLost):
            record.exc_info = None
        return True


def drop_known_tracebacks() -> None:
    """Have Prefect log the engine's errors as one line each."""
    for name in ("prefect.task_runs", "prefect.flow_runs"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, WithoutTraceback) for known in logger.filters):
            logger.addFilter(WithoutTraceback())
