"""What a registry holds, put and asked without the engine and past all faults."""

import json
from typing import Any, Protocol

from testkit.images.documents import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Document, sha256
from testkit.images.push import push_document, request
from testkit.registries.storage import Manifest, Storage

_TYPES = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST))

# A manifest: its bytes and the media type it is stored under.
Held = tuple[bytes, str]


class Store(Protocol):
    """The contents of a registry."""

    def put(self, repository: str, tag: str | None, document: Document) -> None:
        """Put a manifest with its blobs."""

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository; none where there is no such repository."""

    def manifest(self, repository: str, reference: str) -> Held | None:
        """A manifest by tag or digest."""

    def blob(self, repository: str, digest: str) -> bytes | None:
        """The bytes of a blob."""

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether a blob is there."""


class ServedStore:
    """A real registry, asked over plain HTTP at its own address."""

    def __init__(self, host: str) -> None:
        self.host = host

    def put(self, repository: str, tag: str | None, document: Document) -> None:
        """Put a manifest with its blobs."""
        push_document(self.host, repository, tag, document)

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository; none where there is no such repository."""
        answer = request("GET", self.host, f"/v2/{repository}/tags/list")
        return [] if answer.status == 404 else sorted(_document(answer.body).get("tags") or [])

    def manifest(self, repository: str, reference: str) -> Held | None:
        """A manifest by tag or digest."""
        answer = request("GET", self.host, f"/v2/{repository}/manifests/{reference}", None, {"Accept": _TYPES})
        return (answer.body, answer.headers["content-type"]) if answer.status == 200 else None

    def blob(self, repository: str, digest: str) -> bytes | None:
        """The bytes of a blob."""
        answer = request("GET", self.host, f"/v2/{repository}/blobs/{digest}")
        return answer.body if answer.status == 200 else None

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether a blob is there."""
        return request("HEAD", self.host, f"/v2/{repository}/blobs/{digest}").status == 200


class MemoryStore:
    """The in-process registry, whose memory is looked into."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def put(self, repository: str, tag: str | None, document: Document) -> None:
        """Put a manifest with its blobs."""
        for blob in document.blobs:
            self.storage.put_blob(repository, blob)
        self.storage.put_manifest(repository, Manifest(document.data, document.media_type), tag)

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository; none where there is no such repository."""
        found = self.storage.repositories.get(repository)
        return sorted(found.tags) if found else []

    def manifest(self, repository: str, reference: str) -> Held | None:
        """A manifest by tag or digest."""
        repositories = self.storage.repositories
        found = repositories[repository].find(reference) if repository in repositories else None
        return (found[1].data, found[1].media_type) if found else None

    def blob(self, repository: str, digest: str) -> bytes | None:
        """The bytes of a blob."""
        return self.storage.blobs.get(digest) if self.has_blob(repository, digest) else None

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether a blob is there."""
        found = self.storage.repositories.get(repository)
        return found is not None and digest in found.blobs and digest in self.storage.blobs


def missing_below(store: Store, repository: str, reference: str) -> list[str]:
    """Say what a manifest names, down to the last blob, that is not there or not what it should be."""
    held = store.manifest(repository, reference)
    if held is None:
        return [f"manifest {repository} {reference} is not there"]
    body, media_type = held
    if ":" in reference and sha256(body) != reference:
        return [f"manifest {repository} {reference} has other bytes"]
    document = _document(body)
    faults: list[str] = []
    for child in document.get("manifests", []):
        if media_type in (OCI_INDEX, DOCKER_LIST):
            faults += missing_below(store, repository, child["digest"])
    for entry in [*([document["config"]] if "config" in document else []), *document.get("layers", [])]:
        digest = entry["digest"]
        data = store.blob(repository, digest)
        if data is None or sha256(data) != digest:
            faults.append(f"blob {digest} of {repository} {reference} is not there or not whole")
    return faults


def _document(body: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(body)
    return document
