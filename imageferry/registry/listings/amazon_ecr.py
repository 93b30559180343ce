"""The repositories of an AWS account's registry, by Amazon's API: ECR has no ``_catalog``.

The credentials are AWS's, as botocore finds them: the environment, a profile, the machine's or the pod's role.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from imageferry.listing_api import ListingApi
from imageferry.registry.ecr import EcrApi, is_ecr
from imageferry.registry.errors import NotFound, RegistryError
from imageferry.registry.listings.listing import (
    IncompleteListing,
    ListedRepository,
    ListedTag,
    is_below,
    read_size,
)
from imageferry.registry.listings.pages import PAGES_LIMIT, REPOSITORIES_LIMIT, TAGS_LIMIT

# Entries asked for at once: the API gives no more.
PAGE = 1000


class AmazonEcr:
    """Lists the repositories of one registry (Amazon ECR API, "DescribeRepositories", "DescribeImages").

    Its date of a repository is that of its creation, so none is given.
    """

    api: ListingApi = "ecr"

    def __init__(self, registry: str) -> None:
        self._registry = registry
        self._amazon = EcrApi(registry)

    async def repositories(self, prefix: str) -> AsyncIterator[ListedRepository]:
        """Yield each repository at or below the prefix, once: see ``RepositoryListing``."""
        action = f"list repositories of {self._registry}"
        entries = self._entries("describe_repositories", "repositories", action, REPOSITORIES_LIMIT)
        async for entry in entries:
            path = str(entry.get("repositoryName", ""))
            if is_below(path, prefix):
                yield ListedRepository.of(path)

    async def tags(self, repository: str) -> AsyncIterator[ListedTag]:
        """Yield each tag of a repository: see ``TagListing``."""
        action = f"list tags of {self._registry}/{repository}"
        wanted = {"repositoryName": repository, "filter": {"tagStatus": "TAGGED"}}
        try:
            async for entry in self._entries("describe_images", "imageDetails", action, TAGS_LIMIT, **wanted):
                pushed, digest = entry.get("imagePushedAt"), entry.get("imageDigest")
                for name in entry.get("imageTags", ()):
                    date = pushed if isinstance(pushed, datetime) else None
                    yield ListedTag(name, digest, date, read_size(entry.get("imageSizeInBytes")))
        except NotFound:
            return

    async def _entries(
        self, operation: str, key: str, action: str, most: int, **wanted: object
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the entries of all pages. Raises ``RegistryError``."""
        if not is_ecr(self._registry):
            advice = "its host is as 123456789012.dkr.ecr.eu-west-1.amazonaws.com: check `api` of this registry"
            raise RegistryError(action, "it is no registry of Amazon ECR", advice=advice)
        tokens: set[str] = set()
        arguments = {"maxResults": PAGE, **wanted}
        listed = 0
        while True:
            page = await asyncio.to_thread(self._amazon.call, operation, action, **arguments)
            if key not in page:
                raise IncompleteListing(action, f"Amazon's API answered without {key}")
            listed += len(page[key])
            if listed > most:
                raise IncompleteListing(action, f"Amazon's API lists more than {most:,} entries")
            for entry in page[key]:
                yield entry
            token = page.get("nextToken")
            if not token:
                return
            if token in tokens or len(tokens) >= PAGES_LIMIT:
                raise IncompleteListing(action, "the pages of Amazon's API lead in a circle")
            tokens.add(token)
            arguments = arguments | {"nextToken": token}
