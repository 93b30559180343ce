"""One blob to move, and who does the moving: the engine by itself, or the mover that it is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from imageferry.copy.errors import BlobFailed, DeliveryError
from imageferry.copy.retries import retry_transient
from imageferry.errors import ImageferryError
from imageferry.registry import Descriptor, Repository
from imageferry.text import format_size, short_digest


@dataclass(frozen=True, slots=True, eq=False)
class BlobMove:
    """A blob to read from ``source`` and to upload to ``destinations``. The blob's size is -1 where it is not known."""

    blob: Descriptor
    source: Repository
    destinations: list[Repository]
    transfer: Callable[[BlobMove], Awaitable[None]]
    # Those that were too slow to be fed with the others, by name; they are no failure of the move.
    left_behind: dict[str, ImageferryError] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The blob as a person sees it: its short digest, and its size where it is known."""
        size = format_size(self.blob.size) if self.blob.size >= 0 else ""
        return f"{short_digest(self.blob.digest)} {size}".rstrip()

    async def run(self) -> None:
        """Make one attempt, which leaves out the destinations that have the blob by now.

        Raises ``DeliveryError`` with the destinations that did not get it.
        """
        await self.transfer(self)


class BlobMover(Protocol):
    """Moves a blob by awaiting ``move.run()``, as often and in whatever surroundings it likes.

    Raises ``DeliveryError``; errors in it that are transient make the blob's image try again as a whole.
    """

    def __call__(self, move: BlobMove, /) -> Awaitable[None]:
        """Move the blob."""


async def move_with_retries(move: BlobMove, retries: int) -> None:
    """Move a blob with ``retries`` more attempts where another may succeed. Raises a permanent ``DeliveryError``."""
    try:
        await retry_transient(move.run, retries)
    except DeliveryError as error:
        raise as_permanent(move, error) from None


def as_permanent(move: BlobMove, error: DeliveryError) -> DeliveryError:
    """Return the error made permanent: the blob's retries are used up, so its image must not retry it."""
    failures = {name: BlobFailed(str(reason)) for name, reason in error.failures.items()}
    return DeliveryError(f"blob {short_digest(move.blob.digest)}", failures)
