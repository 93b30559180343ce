"""What a copy raises when it did not arrive everywhere."""

from __future__ import annotations

from collections.abc import Mapping

from imageferry.errors import ImageferryError


class DeliveryError(ImageferryError):
    """Some destinations did not get a blob or an image; those that are not named here did.

    ``failures`` maps a destination to its error.
    """

    def __init__(self, what: str, failures: Mapping[str, ImageferryError]) -> None:
        self.failures = dict(failures)
        self.transient = any(error.transient for error in failures.values())
        super().__init__("; ".join(dict.fromkeys(str(error) for error in failures.values())) or what)


class BlobFailed(ImageferryError):
    """A blob could not be brought to a destination, and its retries are used up."""


class LeftBehind(ImageferryError):
    """A destination takes bytes so slowly that others, which were fed with it, went on without it: it is fed alone."""


class Interrupted(ImageferryError):
    """The run was stopped before the work was done."""
