"""Standard output and error that cannot end a run: what they do not take is lost, and the copying goes on."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any


class TolerantStream(io.TextIOWrapper):
    """A text stream that drops what cannot be written: a full disk, a pipe that nobody reads, a terminal that is gone.

    ``failure`` is the last error of a write; None as long as all was written.
    """

    failure: OSError | None = None

    def write(self, text: str, /) -> int:
        """Write the text, or drop it; return its length."""
        try:
            super().write(text)
        except OSError as error:
            self.failure = error
        return len(text)

    def flush(self) -> None:
        """Write what is held back, or drop it."""
        try:
            super().flush()
        except OSError as error:
            self.failure = error

    def close(self) -> None:
        """Close the stream, and drop what it still holds back if that cannot be written."""
        try:
            super().close()
        except OSError as error:
            self.failure = error


def prepare_streams() -> None:
    """Make standard output and error tolerant, and let descriptors that are closed lead nowhere.

    A descriptor 1 or 2 that is closed would be given to the next file or connection that is opened, and get what is
    meant for the terminal.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                # The lowest that is free, which is this one.
                os.open(os.devnull, os.O_RDWR)
    sys.stdout = _tolerant(sys.stdout, 1)
    sys.stderr = _tolerant(sys.stderr, 2)


def stream_failure(stream: Any) -> OSError | None:
    """Return the error because of which a standard stream lacks something, or None."""
    return stream.failure if isinstance(stream, TolerantStream) else None


def _tolerant(stream: Any, descriptor: int) -> TolerantStream:
    if stream is None:
        # Python found it closed.
        return TolerantStream(io.FileIO(descriptor, "w", closefd=False), write_through=True)
    # A character that the terminal's encoding lacks is no reason to lose a line either.
    errors = "backslashreplace" if stream.errors == "strict" else stream.errors
    return TolerantStream(stream.buffer, encoding=stream.encoding, errors=errors, line_buffering=stream.line_buffering)
