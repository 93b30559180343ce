"""The credentials that the configuration itself holds, under ``auth``."""

from __future__ import annotations

from imageferry.model import Configuration, RegistryAccess
from imageferry.reference import Reference


class ConfiguredCredentials:
    """The entries of ``auth``, looked up by the longest key that matches."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    async def access_to(self, registry: str, repository: str) -> RegistryAccess | None:
        """Return the entry for ``repository`` of ``registry``, or None if there is none."""
        return self._configuration.access_to(Reference(registry, repository))
