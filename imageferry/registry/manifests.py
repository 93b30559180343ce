"""Manifests of one repository: asked for, read and put, as the bytes that they are."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from imageferry.errors import InvalidReference
from imageferry.reference import check_digest
from imageferry.registry.client import check_status
from imageferry.registry.errors import DigestMismatch, InvalidResponse, NotFound, RegistryError
from imageferry.text import shorten_repr

if TYPE_CHECKING:
    from imageferry.registry.repository import Repository

#: The most that a manifest may have, in bytes (distribution specification, "Pushing Manifests").
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

#: All types are named: Quay converts to schema 1 for a client that names few.
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

#: How registries refuse to put a tag again (ECR, Nexus; GitLab; Harbor), whatever it names.
_IMMUTABLE = frozenset({400, 409, 412})

#: Content types of servers that do not know what they serve.
_SAYING_NOTHING = frozenset({"", "application/json", "application/octet-stream", "text/plain", "text/html"})


#: Wider than RFC 6838, 4.2: what registries hold under odd types is copied too.
_MEDIA_TYPE = re.compile(r"[!-~]+/[!-~]+")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What some content is: its media type, its digest and its size in bytes (image specification, "Descriptors")."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """A manifest as it came: its bytes, the media type it is stored under, and the digest that its bytes hash to."""

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
        """What an index says of this manifest."""
        return Descriptor(self.media_type, self.digest, len(self.body))

    @cached_property
    def document(self) -> dict[str, Any]:
        """The manifest's JSON, for reading only: what is put are the bytes. Raises ``BadAnswer``."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise InvalidResponse(f"read manifest {self.digest}", "it is not a JSON object")
        return document

    @property
    def is_index(self) -> bool:
        """Whether it names other manifests rather than blobs."""
        return self.media_type in INDEX_TYPES


class Manifests:
    """The manifests of one repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def head(self, target: str) -> Descriptor | None:
        """Ask with HEAD what a tag or a digest names; None when the registry says that it is not there.

        A registry that gives no digest with HEAD, or answers it 405, is asked with GET; so is one that answers 500,
        since only a body says that it means a repository it does not know. Raises ``RegistryError``.
        """
        repository, action = self._repository, self._action("look up", target)
        answer = await repository.send("HEAD", f"manifests/{target}", action=action, headers={"accept": ACCEPT})
        if answer.status_code == 404:
            return None
        digest = answer.headers.get("docker-content-digest", "")
        if answer.status_code in (405, 500) or (answer.status_code == 200 and not digest):
            try:
                return (await self.get(target)).descriptor
            except NotFound:
                return None
        check_status(answer, action, repository.host, 200)
        length = answer.headers.get("content-length", "")
        size = int(length) if length.isdecimal() and length.isascii() else 0
        return Descriptor(_media_type(answer.headers), _digest(digest, action), size)

    async def get(self, target: str) -> Manifest:
        """Read a manifest by tag or digest, at most ``MANIFEST_LIMIT`` bytes.

        Asked for by digest, the bytes must hash to it. The digest that a registry claims for a tag does not count.
        Raises ``NotFound``, ``DigestMismatch`` and other ``RegistryError``.
        """
        repository, action = self._repository, self._action("read", target)
        path = f"manifests/{target}"
        answer = await repository.send("GET", path, action=action, headers={"accept": ACCEPT}, limit=MANIFEST_LIMIT)
        check_status(answer, action, repository.host, 200)
        by_digest = ":" in target
        manifest = Manifest.of(
            answer.content, _media_type(answer.headers), target.partition(":")[0] if by_digest else "sha256"
        )
        if by_digest and manifest.digest != target:
            raise DigestMismatch(action, f"{repository.host} gave other bytes: they hash to {manifest.digest}")
        if manifest.media_type in _SAYING_NOTHING:
            manifest = Manifest(manifest.body, _stored_type(manifest, action, repository.host), manifest.digest)
        if _MEDIA_TYPE.fullmatch(manifest.media_type) is None:
            # It is put as a header: one with a line break in it would be two.
            reason = f"{repository.host} gave the media type {shorten_repr(manifest.media_type)}, which is none"
            raise InvalidResponse(action, reason, advice="the image is damaged or hostile")
        return manifest

    async def put(self, target: str, manifest: Manifest) -> None:
        """Store the manifest's bytes under a tag or its digest.

        A tag that may not be changed and is this manifest's already is no failure. Raises ``RegistryError``.
        """
        repository, action = self._repository, self._action("put", target)
        headers = {"content-type": manifest.media_type}
        path = f"manifests/{target}"
        answer = await repository.send("PUT", path, action=action, headers=headers, content=manifest.body)
        if answer.status_code in _IMMUTABLE and await self._is(target, manifest.digest):
            return
        check_status(answer, action, repository.host, 201, 200, 202)

    async def _is(self, target: str, digest: str) -> bool:
        try:
            found = await self.head(target)
        except RegistryError:
            return False
        return found is not None and found.digest == digest

    def _action(self, verb: str, target: str) -> str:
        separator = "@" if ":" in target else ":"
        return f"{verb} manifest {self._repository.name}{separator}{target}"


def _stored_type(manifest: Manifest, action: str, host: str) -> str:
    """Give the media type that the manifest itself says, or shows by its form, where the answer's type says nothing."""
    try:
        document = manifest.document
    except InvalidResponse:
        document = {}
    media_type = document.get("mediaType")
    if isinstance(media_type, str):
        return media_type
    for key, kind in (
        ("manifests", OCI_INDEX),
        ("layers", OCI_MANIFEST),
        ("fsLayers", DOCKER_SCHEMA1_SIGNED),
    ):
        if key in document:
            return kind
    raise InvalidResponse(action, f"{host} gave no manifest", advice="check that a registry is served there")


def _signed_payload(body: bytes) -> bytes:
    """Give what a signed schema 1 manifest's digest is of: the bytes before the signatures (docker's libtrust)."""
    try:
        protected = json.loads(_unpadded(json.loads(body)["signatures"][0]["protected"]))
        return body[: protected["formatLength"]] + _unpadded(protected["formatTail"])
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return body


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _media_type(headers: Any) -> str:
    media_type: str = headers.get("content-type", "")
    return media_type.partition(";")[0].strip()


def _digest(text: str, action: str) -> str:
    try:
        return check_digest(text)
    except InvalidReference as error:
        raise InvalidResponse(action, str(error)) from None
