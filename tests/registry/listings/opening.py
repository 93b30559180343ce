"""A client of a registry to list, opened as the engine opens it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from imageferry.model import RegistryAccess
from imageferry.registry import RegistryClient
from imageferry.registry.listings.listing import RepositoryListing, list_repositories
from tests.registry.opening import access


@asynccontextmanager
async def client_of(host: str, entry: RegistryAccess | None = None) -> AsyncIterator[RegistryClient]:
    """Open the client of a registry; without an entry of `auth`, one that lets plain HTTP be."""
    async with RegistryClient(host, access() if entry is None else entry) as client:
        yield client


async def paths(listing: RepositoryListing, prefix: str = "") -> list[str]:
    """List the paths of all repositories."""
    return [each.path for each in await list_repositories(listing, prefix)]
