"""The listing of a registry: by the API that is named, that its host tells, or that it shows at ``/v2/``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from imageferry.listing_api import ListingApi, api_of_host
from imageferry.model import RegistryAccess
from imageferry.registry.client import RegistryClient
from imageferry.registry.http.challenge import Challenge
from imageferry.registry.limits.registry_limits import RegistryLimits
from imageferry.registry.listings.amazon_ecr import AmazonEcr
from imageferry.registry.listings.artifact_registry import ArtifactRegistry
from imageferry.registry.listings.artifactory import Artifactory
from imageferry.registry.listings.azure import AzureRegistry
from imageferry.registry.listings.catalog import Catalog
from imageferry.registry.listings.docker_hub import DOCKER_HUB_API, DockerHub
from imageferry.registry.listings.github import GITHUB_API, GitHub
from imageferry.registry.listings.gitlab import GitLab, gitlab_url
from imageferry.registry.listings.harbor import Harbor
from imageferry.registry.listings.listing import RepositoryListing, check_listable
from imageferry.registry.listings.quay import Quay
from imageferry.registry.listings.site import ApiSite, open_site
from imageferry.report.waits import Waits


@dataclass(frozen=True, slots=True)
class ListingSettings:
    """How a registry is to be listed.

    ``api`` is the API that the configuration names, ``api_url`` where that is if not where its vendor has it. For an
    API at another host: its ``limits`` and ``waits``, and the hosts (without a port) that may be insecure.
    """

    api: ListingApi | None = None
    api_url: str = ""
    limits: RegistryLimits | None = None
    waits: Waits | None = None
    insecure_hosts: frozenset[str] = field(default_factory=frozenset)


@contextlib.asynccontextmanager
async def find_listing(
    client: RegistryClient, access: RegistryAccess | None = None, settings: ListingSettings | None = None
) -> AsyncIterator[RepositoryListing]:
    """Open the listing of a registry; it is to be used within the context, in the client's event loop.

    ``access`` is the entry with the credentials for what is listed. Raises ``NotListable`` for a registry that cannot
    be listed, and ``RegistryError``.
    """
    settings = settings or ListingSettings()
    api = settings.api or api_of_host(client.registry)
    if api is None:
        api = api_of_challenges(await client.challenges(f"list repositories of {client.registry}"))
    if api == "none":
        # Not what lacks a namespace: the prefix is not known yet.
        check_listable(client.registry, "any", settings.api)
    async with contextlib.AsyncExitStack() as stack:
        yield await _listing(api, client, access, settings, stack)


def api_of_challenges(challenges: Sequence[Challenge]) -> ListingApi:
    """Return the API of a registry whose host does not tell it, by its challenges at ``/v2/``."""
    for challenge in challenges:
        if challenge.parameters.get("service") == "harbor-registry":
            return "harbor"
        if challenge.parameters.get("realm", "").rstrip("/").endswith("/jwt/auth"):
            return "gitlab"
    return "catalog"


async def _listing(
    api: ListingApi,
    client: RegistryClient,
    access: RegistryAccess | None,
    settings: ListingSettings,
    stack: contextlib.AsyncExitStack,
) -> RepositoryListing:
    if (build := _ELSEWHERE.get(api)) is not None:
        url = settings.api_url or (_URLS[api] if api in _URLS else await gitlab_url(client))
        opening = open_site(
            url,
            client,
            access,
            limits=settings.limits,
            waits=settings.waits,
            insecure_hosts=settings.insecure_hosts,
        )
        return build(client.registry, await stack.enter_async_context(opening), access)
    return _OWN[api](client, access)


# APIs that may be at another host than the registry's, and where those are that are at one of their vendor's.
_ELSEWHERE: dict[str, Callable[[str, ApiSite, RegistryAccess | None], RepositoryListing]] = {
    "dockerhub": DockerHub,
    "ghcr": GitHub,
    "gitlab": GitLab,
}
_URLS = {"dockerhub": DOCKER_HUB_API, "ghcr": GITHUB_API}

# APIs at the registry's own host.
_OWN: dict[str, Callable[[RegistryClient, RegistryAccess | None], RepositoryListing]] = {
    "harbor": Harbor,
    "quay": Quay,
    "ecr": lambda client, _: AmazonEcr(client.registry),
    "gar": lambda client, _: ArtifactRegistry(client),
    "acr": lambda client, _: AzureRegistry(client),
    "artifactory": lambda client, _: Artifactory(client),
    "catalog": lambda client, _: Catalog(client),
}
