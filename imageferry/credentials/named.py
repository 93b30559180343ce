"""Credentials that an entry of ``auth`` names, and that are kept elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from imageferry.errors import ImageferryError
from imageferry.model import RegistryAccess


class CredentialsError(ImageferryError):
    """Stored credentials are not to be had. Says which, why and what to do, in a text that follows the key."""


#: Gives the access that is kept under a name; raises ``CredentialsError``.
StoredCredentials = Callable[[str], RegistryAccess]


def no_credentials(name: str) -> RegistryAccess:
    """Refuse every name: what stands where nothing is kept. Raises ``CredentialsError``."""
    raise CredentialsError(f"names stored credentials {name!r}, and none are kept here: write them in this file")


@dataclass
class NamedCredentials:
    """Takes every name and notes it: for reading a configuration before the store is asked."""

    names: set[str] = field(default_factory=set)

    def __call__(self, name: str) -> RegistryAccess:
        """Give an access that opens nothing."""
        self.names.add(name)
        return RegistryAccess()
