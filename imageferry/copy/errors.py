"""What a copy raises when it did not arrive everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imageferry.errors import ImageferryError
from imageferry.model import Destination


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


class UnexpectedError(ImageferryError):
    """An exception that no part of the program expects: it costs the image that it came from, and nothing else."""


def as_expected(error: Exception) -> ImageferryError:
    """Return the error as one that can be reported: itself, or its class and its message."""
    if isinstance(error, ImageferryError):
        return error
    return UnexpectedError(f"unexpected {type(error).__name__}: {error}")


class TooManyMatches(ImageferryError):
    """A rule gives one name to what its expression matches, and that is more than one tag."""

    def __init__(self, rule: str, tags: Sequence[str], destination: Destination) -> None:
        some = ", ".join(tags[:5]) + (", …" if len(tags) > 5 else "")
        super().__init__(
            f"{rule} matches {len(tags):,} tags ({some}), which would all end as {destination.targets[0]} at "
            f"{destination.repository}: match one, or leave the destination's tag out"
        )


class TagCollision(ImageferryError):
    """Several rules would write different images to one tag."""
