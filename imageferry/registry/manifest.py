"""What a registry stores: manifests as the bytes that they are, their media types, and descriptors of content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imageferry.registry.errors import InvalidResponse
from imageferry.registry.schema1 import signed_payload

# The most that a manifest may have, in bytes (distribution specification, "Pushing Manifests").
MANIFEST_LIMIT = 4 * 1024 * 1024

# Objects and lists in one document: each takes some 60 bytes of memory, and as few as 3 of the document.
OBJECTS_LIMIT = 250_000

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
SCHEMA1_TYPES = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})
IMAGE_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST, OCI_ARTIFACT})
MANIFEST_TYPES = INDEX_TYPES | IMAGE_TYPES | SCHEMA1_TYPES

# Content types of servers that do not know what they serve.
UNSPECIFIC_TYPES = frozenset({"", "application/json", "application/octet-stream", "text/plain", "text/html"})

# The keys by which a document shows its form, and the types that a document of this form can have.
_FORMS = (
    (("manifests",), INDEX_TYPES),
    (("layers", "config", "blobs"), IMAGE_TYPES),
    (("fsLayers",), SCHEMA1_TYPES),
)

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

    @property
    def is_index(self) -> bool:
        """Whether it is of a type that refers to other manifests."""
        return self.media_type in INDEX_TYPES


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as received: its bytes, the media type it is stored under, and its digest.

    ``repository`` is where it was read, for errors; ``is_index``: it refers to other manifests rather than to blobs.
    """

    body: bytes
    media_type: str
    digest: str
    is_index: bool
    repository: str = field(default="", compare=False)

    @classmethod
    def of(cls, body: bytes, media_type: str, algorithm: str = "sha256", repository: str = "") -> Manifest:
        """Make a manifest of its bytes; the digest is computed. Signed schema 1 has that of its payload."""
        hashed = body
        is_index = media_type in INDEX_TYPES
        if media_type not in INDEX_TYPES | IMAGE_TYPES:
            document = _read_or_none(body) or {}
            is_index = media_type not in MANIFEST_TYPES and INDEX_TYPES in _shown_types(document)
            if media_type in SCHEMA1_TYPES:
                hashed = signed_payload(body, document) or body
        return cls(body, media_type, digest_of(hashed, algorithm), is_index, repository)

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor by which an index refers to this manifest."""
        return Descriptor(self.media_type, self.digest, len(self.body))

    @property
    def name(self) -> str:
        """Its digest, and its repository where it is known."""
        return f"{self.repository}@{self.digest}" if self.repository else self.digest

    def parse(self) -> dict[str, Any]:
        """Return the manifest's JSON, for reading only: what is put is ``body``. Raises ``InvalidResponse``.

        It takes many times the memory of the bytes: it must not be kept.
        """
        try:
            return read_document(self.body)
        except MalformedDocument as error:
            raise InvalidResponse(f"read manifest {self.name}", str(error)) from None


class MalformedDocument(ValueError):
    """Some bytes are not the JSON object that a manifest is."""


def digest_of(data: bytes, algorithm: str) -> str:
    """Return the digest of some bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def read_document(body: bytes) -> dict[str, Any]:
    """Return the JSON object that some bytes are. Raises ``MalformedDocument`` with what is wrong."""
    if body.count(b"{") + body.count(b"[") > OBJECTS_LIMIT:
        # Before it is parsed: 4 MiB of these would take 100 MiB.
        raise MalformedDocument(f"it has more than {OBJECTS_LIMIT:,} objects and lists")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise MalformedDocument("it is not a JSON object")
    return document


def _read_or_none(body: bytes) -> dict[str, Any] | None:
    try:
        return read_document(body)
    except MalformedDocument:
        return None


def detect_media_type(body: bytes, given: str) -> str | None:
    """Return the media type of a manifest that came with the Content-Type ``given``; None for what is no manifest.

    The document says what it is, by its ``mediaType``, else by its form, where the header names another kind of
    manifest or none at all: stores without knowledge of images give every manifest one type.
    """
    document = _read_or_none(body)
    if document is None:
        return None if given in UNSPECIFIC_TYPES else given
    shown = _shown_types(document)
    stated = document.get("mediaType")
    stated = stated if isinstance(stated, str) else ""
    for candidate in (stated, given):
        if candidate in MANIFEST_TYPES and (not shown or any(candidate in types for types in shown)):
            return candidate
    if stated and not {stated, given} & MANIFEST_TYPES:
        return stated
    if shown:
        if shown[0] is SCHEMA1_TYPES:
            return DOCKER_SCHEMA1_SIGNED if "signatures" in document else DOCKER_SCHEMA1
        return OCI_INDEX if shown[0] is INDEX_TYPES else OCI_MANIFEST
    return None if given in UNSPECIFIC_TYPES else given


def _shown_types(document: Mapping[str, Any]) -> list[frozenset[str]]:
    """Return the types that a document may have by its form: none for a document without a form."""
    return [types for keys, types in _FORMS if any(document.get(key) is not None for key in keys)]
