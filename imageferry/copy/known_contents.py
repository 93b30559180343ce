"""What each repository is known to hold, learnt in this run."""

from __future__ import annotations

from collections import Counter, defaultdict

from imageferry.registry import Repository

# Blobs that must be absent from a repository without a tag before it is taken to be as empty as it seems.
MISSES = 64


class KnownContents:
    """Which blobs and manifests are where, and which repositories do not exist yet.

    Only what this run has seen or done is recorded; what is not recorded may exist all the same.
    """

    def __init__(self) -> None:
        # digest -> registry -> the registry's repositories that have the blob, by path
        self._blobs: defaultdict[str, defaultdict[str, dict[str, Repository]]] = defaultdict(lambda: defaultdict(dict))
        self._moved: set[str] = set()
        self._manifests: set[tuple[str, str]] = set()
        self._empty: set[str] = set()
        self._misses: Counter[str] = Counter()
        self._disputed: set[tuple[str, str]] = set()

    def add_blob(self, repository: Repository, digest: str, *, moved: bool = False) -> None:
        """Record that the repository has the blob; ``moved``: its bytes were uploaded, so its source has been read."""
        self._blobs[digest][repository.registry][repository.repository] = repository
        if moved:
            self._moved.add(digest)

    def has_blob(self, repository: Repository, digest: str) -> bool:
        """Return whether the repository is known to have the blob."""
        return digest in self._blobs and repository.repository in self._blobs[digest][repository.registry]

    def dispute_blob(self, repository: Repository, digest: str) -> None:
        """Record that the registry has denied that the blob is in the repository: it is looked up there again."""
        self._blobs[digest][repository.registry].pop(repository.repository, None)
        self._disputed.add((repository.name, digest))
        self.remove_empty(repository)

    def is_disputed(self, repository: Repository, digest: str) -> bool:
        """Return whether the registry has denied that the blob is there: a mount of it may have been none."""
        return (repository.name, digest) in self._disputed

    def mountable_from(self, repository: Repository, digest: str) -> str | None:
        """Return the path of a repository of the same registry that is known to have the blob, None for none."""
        return next(iter(self._blobs[digest][repository.registry]), None) if digest in self._blobs else None

    def replicas(self, digest: str) -> list[Repository]:
        """Return a repository with the blob at each registry that has it; none while its source has not been read."""
        if digest not in self._moved:
            return []
        return [next(iter(repositories.values())) for repositories in self._blobs[digest].values() if repositories]

    def add_manifest(self, repository: Repository, digest: str) -> None:
        """Record that the repository has the manifest, and so all that it names."""
        self._manifests.add((repository.name, digest))

    def dispute_manifest(self, repository: Repository, digest: str) -> None:
        """Record that the registry has denied that the manifest is in the repository: it is looked up there again."""
        self._manifests.discard((repository.name, digest))
        self.remove_empty(repository)

    def has_manifest(self, repository: Repository, digest: str) -> bool:
        """Return whether the repository is known to have the manifest."""
        return (repository.name, digest) in self._manifests

    def add_empty(self, repository: Repository) -> None:
        """Record that the registry knew no such repository when the run began: there should be nothing in it.

        docker/distribution also says this of a repository with blobs and no tag, as a killed run leaves it.
        """
        self._empty.add(repository.name)

    def remove_empty(self, repository: Repository) -> None:
        """Record that there is something in the repository after all, so that blobs are looked up there again."""
        self._empty.discard(repository.name)

    def was_empty(self, repository: Repository) -> bool:
        """Return whether the repository seems to have been missing when the run began."""
        return repository.name in self._empty

    def note_absent(self, repository: Repository) -> None:
        """Record that a blob was looked up in the repository and is not there."""
        self._misses[repository.name] += 1

    def is_known_empty(self, repository: Repository) -> bool:
        """Return whether the repository seems to have been missing, and ``MISSES`` absent blobs have confirmed it.

        A run that was killed before its first tag has left some of the blobs that come first in the next one too.
        """
        return self.was_empty(repository) and self._misses[repository.name] >= MISSES
