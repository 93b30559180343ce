"""Which repositories a registry has: whole listings by the APIs of registries, or an error.

``find_listing`` opens the listing of a registry. A listing yields ``ListedRepository``; one whose API gives tags with
their digests is a ``TagListing`` and yields ``ListedTag``.
"""

from imageferry.registry.listings.find import ListingSettings, find_listing
from imageferry.registry.listings.listing import (
    IncompleteListing,
    ListedRepository,
    ListedTag,
    NotListable,
    RepositoryListing,
    TagListing,
    list_repositories,
)

__all__ = [
    "IncompleteListing",
    "ListedRepository",
    "ListedTag",
    "ListingSettings",
    "NotListable",
    "RepositoryListing",
    "TagListing",
    "find_listing",
    "list_repositories",
]
