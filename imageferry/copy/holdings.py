"""What each destination is known to hold, learnt in this run."""

from __future__ import annotations

from collections import defaultdict

from imageferry.registry import Repository


class Holdings:
    """Which blobs and manifests are where, and which repositories do not exist yet.

    Only what was seen or done in this run is in here; what is not in here may exist all the same.
    """

    def __init__(self) -> None:
        # registry and blob digest -> the registry's repositories that have it
        self._blobs: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._manifests: set[tuple[str, str]] = set()
        self._empty: set[str] = set()

    def add_blob(self, repository: Repository, digest: str) -> None:
        """Note that the repository has the blob."""
        self._blobs[repository.registry, digest].add(repository.repository)

    def has_blob(self, repository: Repository, digest: str) -> bool:
        """Whether the repository is known to have the blob."""
        return repository.repository in self._blobs.get((repository.registry, digest), ())

    def elsewhere(self, repository: Repository, digest: str) -> str | None:
        """Give another repository of the same registry that is known to have the blob."""
        return next(iter(self._blobs.get((repository.registry, digest), ())), None)

    def add_manifest(self, repository: Repository, digest: str) -> None:
        """Note that the repository has the manifest, and so all that it names."""
        self._manifests.add((repository.name, digest))

    def has_manifest(self, repository: Repository, digest: str) -> bool:
        """Whether the repository is known to have the manifest."""
        return (repository.name, digest) in self._manifests

    def add_empty(self, repository: Repository) -> None:
        """Note that the registry had no such repository when the run began: there is nothing to look up in it."""
        self._empty.add(repository.name)

    def was_empty(self, repository: Repository) -> bool:
        """Whether the repository was missing when the run began."""
        return repository.name in self._empty
