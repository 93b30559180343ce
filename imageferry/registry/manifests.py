"""The manifests of one repository: looked up, read and put, always as the bytes that they are."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import unquote

import httpx

from imageferry.errors import InvalidReference
from imageferry.reference import check_digest
from imageferry.registry.client import check_status
from imageferry.registry.errors import (
    TRANSIENT_STATUSES,
    DigestMismatch,
    InvalidResponse,
    NotFound,
    RegistryError,
    Unavailable,
)
from imageferry.registry.manifest import (
    ACCEPT,
    MANIFEST_LIMIT,
    Descriptor,
    Manifest,
    detect_media_type,
    digest_of,
)
from imageferry.registry.repository_client import RepositoryClient
from imageferry.registry.request import RegistryRequest
from imageferry.text import shorten_repr

_ACCEPTING = {"accept": ACCEPT}

# How registries refuse to overwrite a tag (ECR, Nexus: 400; GitLab: 409; Harbor: 412), whatever it refers to.
_IMMUTABLE = frozenset({400, 409, 412})

# Wider than RFC 6838, 4.2: what registries store under odd types is copied too.
_MEDIA_TYPE = re.compile(r"[!-~]+/[!-~]+")

# The digest in the Location of a manifest that was put.
_LOCATION = re.compile(r"/manifests/([^/?#]+)/?(?:[?#]|$)")


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """What a registry has where a manifest was put: the digest of its bytes, and the digest by which it names it."""

    digest: str
    named: str


class Manifests:
    """The manifests of one repository."""

    def __init__(self, repository: RepositoryClient) -> None:
        self._repository = repository
        # Whether a GET was refused here as the HEAD before it was.
        self._refuses_both = False

    async def head(self, target: str) -> Descriptor | None:
        """Return the descriptor of a tag or digest, asked for with HEAD; None if the registry does not have it.

        A registry that returns no usable digest with HEAD, or refuses it, is asked with GET, and if that works with GET
        alone from then on; so is one that answers 500, since only a body says whether it means an unknown repository.
        Raises ``RegistryError``.
        """
        repository, action = self._repository, self._action("look up", target)
        if repository.client.refuses_manifest_heads:
            return await self._describe(target)
        answer = await repository.send(RegistryRequest("HEAD", self._path(target), action, _ACCEPTING))
        status = answer.status_code
        if status == 404:
            return None
        # A challenge has been answered by now: it is the account that is refused.
        is_login = status == 401 and "www-authenticate" in answer.headers
        if is_login or status in TRANSIENT_STATUSES - {500} or (self._refuses_both and status in (400, 401, 403)):
            check_status(answer, action, repository.host, 200)
        digest = _usable_digest(answer.headers.get("docker-content-digest", ""))
        if status != 200:
            return await self._describe_instead(target, status)
        if not digest:
            return await self._describe(target)
        length = answer.headers.get("content-length", "")
        size = int(length) if length.isdecimal() and length.isascii() else 0
        return Descriptor(_media_type(answer.headers), digest, size)

    async def _describe(self, target: str) -> Descriptor | None:
        """Return what GET shows; None if the registry does not have it."""
        try:
            return (await self._read("look up", target)).descriptor
        except NotFound:
            return None

    async def _describe_instead(self, target: str, refused: int) -> Descriptor | None:
        """Return what GET shows where HEAD was answered with the status ``refused``; remember what that means."""
        client = self._repository.client
        try:
            found = (await self._read("look up", target)).descriptor
        except NotFound as error:
            client.refuses_manifest_heads |= error.status == 404
            return None
        except RegistryError as error:
            self._refuses_both |= error.status == refused
            raise
        client.refuses_manifest_heads = True
        return found

    async def get(self, target: str) -> Manifest:
        """Read a manifest by tag or digest, at most ``MANIFEST_LIMIT`` bytes.

        By digest, the bytes must hash to it. The digest that a registry claims for a tag does not count. Raises
        ``NotFound``, ``DigestMismatch`` and other ``RegistryError``.
        """
        return await self._read("read", target)

    async def _read(self, verb: str, target: str) -> Manifest:
        repository, action = self._repository, self._action(verb, target)
        request = RegistryRequest("GET", self._path(target), action, _ACCEPTING, limit=MANIFEST_LIMIT)
        answer = await repository.send(request)
        check_status(answer, action, repository.host, 200)
        by_digest = ":" in target
        algorithm = target.partition(":")[0] if by_digest else "sha256"
        media_type = detect_media_type(answer.content, _media_type(answer.headers))
        manifest = Manifest.of(answer.content, media_type or "", algorithm, repository.name)
        if by_digest and manifest.digest != target:
            if digest_of(manifest.body, algorithm) != target:
                raise DigestMismatch(action, f"{repository.host} gave other bytes: they hash to {manifest.digest}")
            # A store that knows nothing of signatures.
            manifest = replace(manifest, digest=target)
        if media_type is None:
            reason = f"{repository.host} gave no manifest"
            raise InvalidResponse(action, reason, advice="check that a registry is served there")
        if _MEDIA_TYPE.fullmatch(media_type) is None:
            # It is put as a header: one with a line break in it would be two.
            reason = f"{repository.host} gave the media type {shorten_repr(media_type)}, which is none"
            raise InvalidResponse(action, reason, advice="the image is damaged or hostile")
        return manifest

    async def put(self, target: str, manifest: Manifest) -> StoredManifest:
        """Store the manifest's bytes under a tag or its digest, and return what the registry has there then.

        An immutable tag that already refers to this manifest is no error. Under a digest nothing else may be stored.
        Raises ``RegistryError``.
        """
        repository, action = self._repository, self._action("put", target)
        headers = {"content-type": manifest.media_type}
        answer = await repository.send(RegistryRequest("PUT", self._path(target), action, headers, manifest.body))
        if answer.status_code in _IMMUTABLE and await self._refers_to(target, manifest.digest):
            return StoredManifest(manifest.digest, manifest.digest)
        check_status(answer, action, repository.host, 201, 200, 202)
        named = _named_digest(answer.headers)
        if named == manifest.digest or (named is None and await self._refers_to(target, manifest.digest)):
            return StoredManifest(manifest.digest, manifest.digest)
        return await self._find_stored(target, manifest, named)

    async def _find_stored(self, target: str, manifest: Manifest, named: str | None) -> StoredManifest:
        """Return what is there after a PUT whose answer does not name the manifest's digest, but ``named`` or none."""
        repository, action = self._repository, self._action("put", target)
        try:
            found = await self.get(target)
        except NotFound:
            if named is not None and ":" in target:
                raise DigestMismatch(action, f"{repository.host} stored it as another manifest, {named}") from None
            raise Unavailable(action, f"{repository.host} answered that it is stored, and does not have it") from None
        except RegistryError as error:
            if error.status not in (401, 403):
                raise
            # This account may write and not read: what the answer said is all there is.
            if named is not None and ":" in target:
                raise DigestMismatch(action, f"{repository.host} stored it as another manifest, {named}") from None
            return StoredManifest(named or manifest.digest, named or manifest.digest)
        digest = manifest.digest if found.body == manifest.body else found.digest
        return StoredManifest(digest, named or digest)

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


def _media_type(headers: httpx.Headers) -> str:
    media_type: str = headers.get("content-type", "")
    return media_type.partition(";")[0].strip()


def _usable_digest(header: str) -> str:
    """Return the digest that a header gives, perhaps in quotes; empty if it is none, as if there were no header."""
    try:
        return check_digest(header.strip('"'))
    except InvalidReference:
        return ""


def _named_digest(headers: httpx.Headers) -> str | None:
    """Return the digest by which a registry names what was put: in its own header, else in the Location."""
    location = _LOCATION.search(unquote(headers.get("location", "")))
    named = (headers.get("docker-content-digest", ""), location[1] if location else "")
    return next((digest for digest in map(_usable_digest, named) if digest), None)
