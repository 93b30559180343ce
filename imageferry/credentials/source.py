"""What every source of credentials offers: the access to a repository."""

from __future__ import annotations

from typing import Protocol

from imageferry.model import RegistryAccess


class CredentialSource(Protocol):
    """Knows the credentials of some registries (go-containerregistry's ``authn.Keychain``).

    It is asked for each repository: a source that runs a program or sends a request keeps its answers, as long as they
    are valid.
    """

    async def access_to(self, registry: str, repository: str) -> RegistryAccess | None:
        """Return the access to ``repository`` of ``registry``, or None if this source knows nothing of it.

        Raises ``ImageferryError``, without any secret, if the source should know and cannot say.
        """
