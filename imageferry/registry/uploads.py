"""Uploads to one repository, and mounts that spare them (distribution specification, "Pushing blobs")."""

from __future__ import annotations

from imageferry.registry.repository_client import RepositoryClient
from imageferry.registry.upload import Upload
from imageferry.registry.upload_session import mount_blob, start_session

__all__ = ["Upload", "Uploads"]


class Uploads:
    """How blobs enter a repository."""

    def __init__(self, repository: RepositoryClient) -> None:
        self._repository = repository

    async def start(self, digest: str) -> Upload:
        """Open an upload session for the blob. Raises ``RegistryError``."""
        return Upload(self._repository, digest, await start_session(self._repository, digest))

    async def mount(self, digest: str, source: str) -> Upload | None:
        """Have the registry take the blob from its repository ``source``; None if it did, else an upload of it.

        Raises ``RegistryError``.
        """
        session = await mount_blob(self._repository, digest, source)
        return None if session is None else Upload(self._repository, digest, session)
