"""What a registry holds, in memory."""

import hashlib
import json
import re
import uuid
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from typing import Any

SCHEMA1 = (
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v1+json",
)
_DIGEST = re.compile(r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$")


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """The digest of some bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def is_digest(text: str) -> bool:
    """Whether a reference is a digest of an algorithm that is known."""
    return _DIGEST.match(text) is not None


def fits(data: bytes, digest: str) -> bool:
    """Whether the bytes have that digest."""
    return is_digest(digest) and digest_of(data, digest.partition(":")[0]) == digest


def unsigned(data: bytes) -> bytes:
    """The payload of a signed Docker schema 1 manifest: what its digest is taken of."""
    signatures = json.loads(data).get("signatures")
    if not signatures:
        return data
    protected = json.loads(_decode(signatures[0]["protected"]))
    return data[: protected["formatLength"]] + _decode(protected["formatTail"])


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass(frozen=True)
class Manifest:
    """The bytes of a manifest and the type it was put with."""

    data: bytes
    media_type: str

    @property
    def digest(self) -> str:
        """The digest that a registry gives it."""
        return digest_of(unsigned(self.data) if self.media_type in SCHEMA1 else self.data)

    def document(self) -> dict[str, Any]:
        """The manifest as a document; `ValueError` where it is none."""
        document = json.loads(self.data)
        if isinstance(document, dict):
            return document
        raise ValueError("not an object")


@dataclass
class Repository:
    """The contents of one repository. `blobs` are links into the storage."""

    blobs: set[str] = field(default_factory=set)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def find(self, reference: str) -> tuple[str, Manifest] | None:
        """Find a manifest by its tag or digest."""
        digest = self.tags.get(reference, reference)
        manifest = self.manifests.get(digest)
        return None if manifest is None else (digest, manifest)


@dataclass
class Upload:
    """An upload session."""

    repository: str
    data: bytearray = field(default_factory=bytearray)
    identity: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = field(default_factory=lambda: uuid.uuid4().hex)
    patches: int = 0
    reported: int = 0


@dataclass
class Storage:
    """All repositories, the blobs by digest, and the upload sessions. Several hosts may share one."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    repositories: dict[str, Repository] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)

    def repository(self, name: str) -> Repository:
        """Find a repository, or make it."""
        return self.repositories.setdefault(name, Repository())

    def put_blob(self, name: str, data: bytes, digest: str | None = None) -> str:
        """Keep a blob in a repository."""
        digest = digest or digest_of(data)
        self.blobs[digest] = data
        self.repository(name).blobs.add(digest)
        return digest

    def put_manifest(self, name: str, manifest: Manifest, tag: str | None, digest: str | None = None) -> str:
        """Keep a manifest in a repository, with or without a tag."""
        digest = digest or manifest.digest
        repository = self.repository(name)
        repository.manifests[digest] = manifest
        if tag is not None:
            repository.tags[tag] = digest
        return digest

    def size(self) -> int:
        """The bytes of all blobs."""
        return sum(len(blob) for blob in self.blobs.values())
