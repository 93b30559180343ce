"""What a registry stores: manifests as the bytes that they are, their media types, and descriptors of content."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from imageferry.registry.errors import InvalidResponse

# The most that a manifest may have, in bytes (distribution specification, "Pushing Manifests").
MANIFEST_LIMIT = 4 * 1024 * 1024

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
SCHEMA1_TYPES = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})

# All types are listed: Quay converts to schema 1 for a client that lists few.
ACCEPT = ", ".join(
    (
        OCI_INDEX,
        DOCKER_LIST,
        OCI_MANIFEST,
        DOCKER_MANIFEST,
        OCI_ARTIFACT,
        DOCKER_SCHEMA1_SIGNED,
        DOCKER_SCHEMA1,
        "*/*",
    )
)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to content: its media type, digest and size in bytes (image specification, "Descriptors")."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """A manifest as received: its bytes, the media type it is stored under, and the digest of its bytes."""

    body: bytes
    media_type: str
    digest: str

    @classmethod
    def of(cls, body: bytes, media_type: str, algorithm: str = "sha256") -> Manifest:
        """Make a manifest of its bytes; the digest is computed."""
        hashed = _signed_payload(body) if media_type == DOCKER_SCHEMA1_SIGNED else body
        return cls(body, media_type, f"{algorithm}:{hashlib.new(algorithm, hashed).hexdigest()}")

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor by which an index refers to this manifest."""
        return Descriptor(self.media_type, self.digest, len(self.body))

    @cached_property
    def document(self) -> dict[str, Any]:
        """The manifest's JSON, for reading only: what is put is ``body``. Raises ``InvalidResponse``."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise InvalidResponse(f"read manifest {self.digest}", "it is not a JSON object")
        return document

    @property
    def is_index(self) -> bool:
        """Whether it refers to other manifests rather than to blobs."""
        return self.media_type in INDEX_TYPES


def _signed_payload(body: bytes) -> bytes:
    """Return what the digest of a signed schema 1 manifest covers: the bytes without signatures (docker's libtrust)."""
    try:
        protected = json.loads(_decode_unpadded(json.loads(body)["signatures"][0]["protected"]))
        return body[: protected["formatLength"]] + _decode_unpadded(protected["formatTail"])
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return body


def _decode_unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
