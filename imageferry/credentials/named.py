"""Stored credentials: an entry of ``auth`` has their name, and something else keeps them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from imageferry.errors import ImageferryError
from imageferry.model import RegistryAccess


class CredentialsError(ImageferryError):
    """Stored credentials are not available. Says which, why and what to do, in a text that follows the key."""


# Returns the access that is stored under a name; raises ``CredentialsError``.
StoredCredentials = Callable[[str], RegistryAccess]


def no_credentials(name: str) -> RegistryAccess:
    """Refuse every name: for a program without a store. Raises ``CredentialsError``."""
    raise CredentialsError(f"names stored credentials {name!r}, and none are kept here: write them in this file")


@dataclass
class NamedCredentials:
    """Accepts and collects every name: for checking a configuration before, or without, asking the store."""

    names: set[str] = field(default_factory=set)

    def __call__(self, name: str) -> RegistryAccess:
        """Collect the name; return an access without credentials."""
        self.names.add(name)
        return RegistryAccess()
