"""One Prefect server of a home starts at a time: two that make the database at once break each other's migration."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

NAME = "imageferry-start.lock"


class StartupLock:
    """The lock of a Prefect home, taken while the context is entered, and free at the latest when this process ends."""

    def __init__(self, home: Path) -> None:
        self._path = home / NAME
        self._descriptor: int | None = None

    def release(self) -> None:
        """Let the next server start; nothing where this has been called before."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        """Wait until no other server of this home is starting."""
        # Where no file can be made, the server itself says what is wrong. A file system may have no locks.
        with contextlib.suppress(OSError):
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
