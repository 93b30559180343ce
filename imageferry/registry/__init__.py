"""A registry as an object: its repositories, and in them manifests, tags, blobs and uploads."""

from imageferry.registry.endpoint import Endpoint
from imageferry.registry.errors import RegistryError
from imageferry.registry.manifests import Descriptor, Manifest
from imageferry.registry.repository import Repository

__all__ = ["Descriptor", "Endpoint", "Manifest", "RegistryError", "Repository"]
