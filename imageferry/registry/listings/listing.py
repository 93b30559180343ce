"""What a listing of a registry gives: repositories, and where its API knows them, their tags with digest and date."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, runtime_checkable

from imageferry.errors import InvalidReference
from imageferry.listing_api import ListingApi, why_unlistable
from imageferry.reference import check_repository
from imageferry.registry.errors import InvalidResponse, RegistryError

# A date of this year or before is Go's zero time, or the epoch: none.
_NO_YEAR = 1970


class IncompleteListing(InvalidResponse):
    """What was listed is not all there is, or nothing shows that it is."""


class NotListable(RegistryError):
    """What is below a prefix cannot be listed there, whoever asks."""


@dataclass(frozen=True, slots=True)
class ListedRepository:
    """A repository that a registry lists: its path below the registry, as the registry writes it.

    ``pushed`` is when something was last pushed to it, None where the API does not say. ``problem`` says why the path
    cannot be a repository's name (distribution specification, "Pulling manifests"): such an entry is reported, never
    requested. The path of one with a problem is untrusted text.
    """

    path: str
    pushed: datetime | None = None
    problem: str = ""

    @classmethod
    def of(cls, path: str, pushed: datetime | None = None) -> ListedRepository:
        """Return the entry of a path, with its problem if it has one."""
        try:
            check_repository(path)
        except InvalidReference as error:
            return cls(path, pushed, str(error))
        return cls(path, pushed)


@dataclass(frozen=True, slots=True)
class ListedTag:
    """A tag, and what the API says of it: its digest, when it was last pushed, the size of its image in bytes."""

    name: str
    digest: str | None = None
    pushed: datetime | None = None
    size: int | None = None


class RepositoryListing(Protocol):
    """Lists the repositories of one registry.

    A listing that is not complete ends with an error, and never just early: until the iteration has ended by itself,
    nothing may be concluded from what is missing in it.
    """

    @property
    def api(self) -> ListingApi:
        """Which API it asks: a name of ``ListingApi``."""

    def repositories(self, prefix: str) -> AsyncIterator[ListedRepository]:
        """Yield each repository whose path is ``prefix`` or begins with ``prefix/``; empty: every repository.

        Raises ``RegistryError``; ``IncompleteListing`` where some may be missing.
        """


@runtime_checkable
class TagListing(RepositoryListing, Protocol):
    """A listing whose API gives tags with their digests too."""

    def tags(self, repository: str) -> AsyncIterator[ListedTag]:
        """Yield each tag of a repository; none for one that does not exist (any more). Raises ``RegistryError``."""


async def list_repositories(listing: RepositoryListing, prefix: str = "") -> list[ListedRepository]:
    """Return all repositories below a prefix, in the registry's order: the whole listing or an error.

    Raises ``RegistryError``.
    """
    return [each async for each in listing.repositories(prefix)]


def check_listable(registry: str, prefix: str, api: ListingApi | None = None) -> None:
    """Raise ``NotListable`` where it is known before contact that what is below a prefix cannot be listed."""
    if reason := why_unlistable(registry, prefix, api):
        raise NotListable(f"list repositories of {registry}", reason)


def is_below(path: str, prefix: str) -> bool:
    """Whether a repository is the prefix itself or has it as its first parts."""
    return not prefix or path == prefix or path.startswith(f"{prefix}/")


def read_date(value: object) -> datetime | None:
    """Return a date of RFC 3339 as an API writes it; None for one that is none."""
    with contextlib.suppress(ValueError, OverflowError):
        if isinstance(value, str):
            date = datetime.fromisoformat(value)
            date = date if date.tzinfo else date.replace(tzinfo=UTC)
            return date if date.year > _NO_YEAR else None
    return None


def read_timestamp(value: object, *, per_second: int = 1) -> datetime | None:
    """Return the date of a number of seconds since the epoch, or of parts of a second; None for one that is none."""
    with contextlib.suppress(ValueError, OverflowError, OSError):
        if isinstance(value, str | int) and not isinstance(value, bool) and int(value) > 0:
            return datetime.fromtimestamp(int(value) / per_second, UTC)
    return None


def read_size(value: object) -> int | None:
    """Return a size in bytes, which some write as text; None for one that is none."""
    with contextlib.suppress(ValueError):
        if isinstance(value, str | int) and not isinstance(value, bool) and int(value) >= 0:
            return int(value)
    return None
