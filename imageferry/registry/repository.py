"""One repository of one registry, with what is in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from imageferry.registry.blobs import Blobs
from imageferry.registry.client import RegistryClient
from imageferry.registry.manifests import Manifests
from imageferry.registry.repository_client import RepositoryClient
from imageferry.registry.tags import Tags
from imageferry.registry.uploads import Uploads


class Repository(RepositoryClient):
    """A repository and its content: ``manifests``, ``tags``, ``blobs``, ``uploads``."""

    def __init__(
        self,
        client: RegistryClient,
        path: str,
        *,
        writable: bool = False,
        create_on_demand: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(client, path, writable=writable, create_on_demand=create_on_demand)
        self.manifests = Manifests(self)
        self.tags = Tags(self)
        self.blobs = Blobs(self)
        self.uploads = Uploads(self)
