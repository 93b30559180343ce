"""What every source of credentials offers: the access to a repository."""

from __future__ import annotations

from typing import Protocol

from imageferry.model import RegistryAccess


class CredentialSource(Protocol):
    """Knows the credentials of some registries (go-containerregistry's ``authn.Keychain``).

    A source that asks a slow or remote place remembers its answers for as long as they are valid: it is asked for each
    repository.
    """

    async def access_to(self, registry: str, repository: str) -> RegistryAccess | None:
        """Return the access to ``repository`` of ``registry``, or None if this source knows nothing of it.

        Raises ``ImageferryError``, without any secret, if the source should know and cannot say.
        """
