"""The file of ``--log``, which stops no run."""

from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path

from imageferry.report import files
from imageferry.text import describe_exception


class LogFile(logging.FileHandler):
    """The file of ``--log``. ``failure`` is the last error of a write; None as long as all was written."""

    failure: OSError | None = None

    def __init__(self, path: Path) -> None:
        """Open it. Raises ``OSError``."""
        self.path = path
        super().__init__(path)

    def _open(self) -> io.TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, files.MODE)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Keep the error for the end of the run, where it is reported once."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self.failure = error
        else:
            super().handleError(record)


def find_log_problem(path: Path) -> str:
    """Make the folder of a log that is to be written, and return why it cannot be; empty if it can."""
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() or path.is_dir() or not path.exists():
            # Pipes and devices are opened once: the end of one may end its reader.
            LogFile(path).close()
    except FileExistsError as error:
        return f"cannot be written: {error.filename} is not a directory"
    except (OSError, ValueError) as error:
        return f"cannot be written: {describe_os_error(error)}"
    return ""


def describe_os_error(error: Exception) -> str:
    """Return why a file cannot be written, without its name."""
    return (error.strerror if isinstance(error, OSError) else None) or describe_exception(error)
