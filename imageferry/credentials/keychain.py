"""The chain of all sources of credentials, and the sources of an ordinary run."""

from __future__ import annotations

from collections.abc import Mapping

from imageferry.credentials.configured import ConfiguredCredentials
from imageferry.credentials.docker_config import DockerCredentials
from imageferry.credentials.source import CredentialSource
from imageferry.model import Configuration, RegistryAccess


class Keychain:
    """Several sources as one (go-containerregistry's ``authn.NewMultiKeychain``)."""

    def __init__(self, *sources: CredentialSource) -> None:
        self._sources = sources

    async def access_to(self, registry: str, repository: str) -> RegistryAccess | None:
        """Return the access from the first source that knows the repository, or None: anonymous access.

        A source that fails is not passed over: the next one might log in as somebody else. Raises
        ``ImageferryError``.
        """
        for source in self._sources:
            access = await source.access_to(registry, repository)
            if access is not None:
                return access
        return None


def default_keychain(configuration: Configuration, environment: Mapping[str, str]) -> Keychain:
    """Return the keychain of a run: the configuration's own entries, then docker's and podman's files and helpers."""
    return Keychain(ConfiguredCredentials(configuration), DockerCredentials(environment))
