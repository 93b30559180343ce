"""The errors of a configuration, all of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from imageferry.errors import ImageferryError


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One error: the file, the line and column (from 1; 0: none), the key and the message.

    ``key`` is a path such as ``auth.quay.io.username``; ``message`` says what is wrong and what was expected.
    """

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        position = f"{self.file}:{self.line}" if self.line else self.file
        key = f" {self.key}:" if self.key else ""
        return f"{position}:{key} {self.message}"


class ConfigurationError(ImageferryError):
    """A configuration cannot be used. ``diagnostics`` has every error that was found, ordered by file and line."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(diagnostics))
        super().__init__("\n".join(str(each) for each in self.diagnostics))

    @classmethod
    def of(cls, name: str, message: str, line: int = 0, column: int = 0) -> ConfigurationError:
        """Return the error of one diagnostic: a file, a flag or a variable as a whole, or one position in a file."""
        return cls([Diagnostic(name, line, column, "", message)])

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[tuple[Diagnostic, ...]]]:
        # An exception is pickled by its text, which this does not take.
        return type(self), (self.diagnostics,)
