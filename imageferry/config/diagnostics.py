"""The faults of a configuration, told all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imageferry.errors import ImageferryError


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One thing that is wrong: the file, the line and column (from 1; 0: none), the key and the words.

    ``key`` is a path such as ``auth.quay.io.username``; ``message`` says what is wrong and what was expected.
    """

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        key = f" {self.key}:" if self.key else ""
        return f"{place}:{key} {self.message}"


class ConfigurationError(ImageferryError):
    """A configuration cannot be used. ``faults`` are all that were found, in the order of their lines."""

    def __init__(self, faults: Sequence[Diagnostic]) -> None:
        self.faults = tuple(sorted(faults))
        super().__init__("\n".join(str(fault) for fault in self.faults))

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[tuple[Diagnostic, ...]]]:
        # An exception is pickled by its text, which this does not take.
        return type(self), (self.faults,)
