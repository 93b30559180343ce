"""A client for container registries: a registry, its repositories, and in them manifests, tags, blobs and uploads."""

from imageferry.registry.client import RegistryClient
from imageferry.registry.errors import RegistryError
from imageferry.registry.manifest import Descriptor, Manifest
from imageferry.registry.repository import Repository

__all__ = ["Descriptor", "Manifest", "RegistryClient", "RegistryError", "Repository"]
