"""The manifests of one repository: looked up, read and put, always as the bytes that they are."""

from __future__ import annotations

import re

import httpx

from imageferry.errors import InvalidReference
from imageferry.reference import check_digest
from imageferry.registry.client import check_status
from imageferry.registry.errors import DigestMismatch, InvalidResponse, NotFound, RegistryError
from imageferry.registry.manifest import (
    ACCEPT,
    DOCKER_SCHEMA1_SIGNED,
    MANIFEST_LIMIT,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
)
from imageferry.registry.repository_client import RepositoryClient
from imageferry.registry.request import RegistryRequest
from imageferry.text import shorten_repr

_ACCEPTING = {"accept": ACCEPT}

# How registries refuse to overwrite a tag (ECR, Nexus: 400; GitLab: 409; Harbor: 412), whatever it refers to.
_IMMUTABLE = frozenset({400, 409, 412})

# Content types of servers that do not know what they serve.
_UNSPECIFIC_TYPES = frozenset({"", "application/json", "application/octet-stream", "text/plain", "text/html"})

# The key by which a document without a media type shows what it is.
_TYPE_BY_KEY = (("manifests", OCI_INDEX), ("layers", OCI_MANIFEST), ("fsLayers", DOCKER_SCHEMA1_SIGNED))

# Wider than RFC 6838, 4.2: what registries store under odd types is copied too.
_MEDIA_TYPE = re.compile(r"[!-~]+/[!-~]+")


class Manifests:
    """The manifests of one repository."""

    def __init__(self, repository: RepositoryClient) -> None:
        self._repository = repository

    async def head(self, target: str) -> Descriptor | None:
        """Return the descriptor of a tag or digest, asked for with HEAD; None if the registry does not have it.

        A registry that returns no usable digest with HEAD, or answers it 405, is asked with GET; so is one that answers
        500, since only a body says whether it means an unknown repository. Raises ``RegistryError``.
        """
        repository, action = self._repository, self._action("look up", target)
        answer = await repository.send(RegistryRequest("HEAD", self._path(target), action, _ACCEPTING))
        if answer.status_code == 404:
            return None
        digest = _usable_digest(answer.headers.get("docker-content-digest", ""))
        if answer.status_code in (405, 500) or (answer.status_code == 200 and not digest):
            try:
                return (await self.get(target)).descriptor
            except NotFound:
                return None
        check_status(answer, action, repository.host, 200)
        length = answer.headers.get("content-length", "")
        size = int(length) if length.isdecimal() and length.isascii() else 0
        return Descriptor(_media_type(answer.headers), digest, size)

    async def get(self, target: str) -> Manifest:
        """Read a manifest by tag or digest, at most ``MANIFEST_LIMIT`` bytes.

        By digest, the bytes must hash to it. The digest that a registry claims for a tag does not count. Raises
        ``NotFound``, ``DigestMismatch`` and other ``RegistryError``.
        """
        repository, action = self._repository, self._action("read", target)
        request = RegistryRequest("GET", self._path(target), action, _ACCEPTING, limit=MANIFEST_LIMIT)
        answer = await repository.send(request)
        check_status(answer, action, repository.host, 200)
        by_digest = ":" in target
        manifest = Manifest.of(
            answer.content, _media_type(answer.headers), target.partition(":")[0] if by_digest else "sha256"
        )
        if by_digest and manifest.digest != target:
            raise DigestMismatch(action, f"{repository.host} gave other bytes: they hash to {manifest.digest}")
        if manifest.media_type in _UNSPECIFIC_TYPES:
            manifest = Manifest(manifest.body, _detect_type(manifest, action, repository.host), manifest.digest)
        if _MEDIA_TYPE.fullmatch(manifest.media_type) is None:
            # It is put as a header: one with a line break in it would be two.
            reason = f"{repository.host} gave the media type {shorten_repr(manifest.media_type)}, which is none"
            raise InvalidResponse(action, reason, advice="the image is damaged or hostile")
        return manifest

    async def put(self, target: str, manifest: Manifest) -> None:
        """Store the manifest's bytes under a tag or its digest.

        An immutable tag that already refers to this manifest is no error. Raises ``RegistryError``.
        """
        repository, action = self._repository, self._action("put", target)
        headers = {"content-type": manifest.media_type}
        answer = await repository.send(RegistryRequest("PUT", self._path(target), action, headers, manifest.body))
        if answer.status_code in _IMMUTABLE and await self._refers_to(target, manifest.digest):
            return
        check_status(answer, action, repository.host, 201, 200, 202)

    async def _refers_to(self, target: str, digest: str) -> bool:
        try:
            found = await self.head(target)
        except RegistryError:
            return False
        return found is not None and found.digest == digest

    def _path(self, target: str) -> str:
        return self._repository.path(f"manifests/{target}")

    def _action(self, verb: str, target: str) -> str:
        separator = "@" if ":" in target else ":"
        return f"{verb} manifest {self._repository.name}{separator}{target}"


def _detect_type(manifest: Manifest, action: str, host: str) -> str:
    """Return the media type that the manifest states, or shows by its form. Raises ``InvalidResponse``."""
    try:
        document = manifest.document
    except InvalidResponse:
        document = {}
    media_type = document.get("mediaType")
    if isinstance(media_type, str):
        return media_type
    for key, shown in _TYPE_BY_KEY:
        if key in document:
            return shown
    raise InvalidResponse(action, f"{host} gave no manifest", advice="check that a registry is served there")


def _media_type(headers: httpx.Headers) -> str:
    media_type: str = headers.get("content-type", "")
    return media_type.partition(";")[0].strip()


def _usable_digest(header: str) -> str:
    """Return the digest that a header gives, perhaps in quotes; empty if it is none, as if there were no header."""
    try:
        return check_digest(header.strip('"'))
    except InvalidReference:
        return ""
