"""What each destination is known to hold, learnt in this run."""

from __future__ import annotations

from collections import Counter, defaultdict

from imageferry.registry import Repository

#: Blobs that are looked for in a repository without a tag before it is taken to be as empty as it seems.
MISSES = 64


class KnownContents:
    """Which blobs and manifests are where, and which repositories do not exist yet.

    Only what was seen or done in this run is in here; what is not in here may exist all the same.
    """

    def __init__(self) -> None:
        # digest -> registry -> the registry's repositories that have the blob, by path
        self._blobs: defaultdict[str, defaultdict[str, dict[str, Repository]]] = defaultdict(lambda: defaultdict(dict))
        self._moved: set[str] = set()
        self._manifests: set[tuple[str, str]] = set()
        self._empty: set[str] = set()
        self._misses: Counter[str] = Counter()

    def add_blob(self, repository: Repository, digest: str, *, moved: bool = False) -> None:
        """Note that the repository has the blob; ``moved``: its bytes were brought there, so its source was read."""
        self._blobs[digest][repository.registry][repository.repository] = repository
        if moved:
            self._moved.add(digest)

    def has_blob(self, repository: Repository, digest: str) -> bool:
        """Whether the repository is known to have the blob."""
        return digest in self._blobs and repository.repository in self._blobs[digest][repository.registry]

    def elsewhere(self, repository: Repository, digest: str) -> str | None:
        """Give another repository of the same registry that is known to have the blob."""
        return next(iter(self._blobs[digest][repository.registry]), None) if digest in self._blobs else None

    def arrived(self, digest: str) -> list[Repository]:
        """Give a place of each registry to which the blob was brought: none while its source has not been read."""
        if digest not in self._moved:
            return []
        return [next(iter(places.values())) for places in self._blobs[digest].values() if places]

    def add_manifest(self, repository: Repository, digest: str) -> None:
        """Note that the repository has the manifest, and so all that it names."""
        self._manifests.add((repository.name, digest))

    def has_manifest(self, repository: Repository, digest: str) -> bool:
        """Whether the repository is known to have the manifest."""
        return (repository.name, digest) in self._manifests

    def add_empty(self, repository: Repository) -> None:
        """Note that the registry knew no such repository when the run began: there should be nothing in it.

        docker/distribution says so too of one with blobs and no tag, as a run that was killed leaves it.
        """
        self._empty.add(repository.name)

    def remove_empty(self, repository: Repository) -> None:
        """Note that there is something in the repository after all, so that more is looked for."""
        self._empty.discard(repository.name)

    def was_empty(self, repository: Repository) -> bool:
        """Whether the repository seems to have been missing when the run began."""
        return repository.name in self._empty

    def add_miss(self, repository: Repository) -> None:
        """Note that a blob was looked for in the repository, and is not there."""
        self._misses[repository.name] += 1

    def is_known_empty(self, repository: Repository) -> bool:
        """Whether the repository seems to have been missing, and ``MISSES`` blobs were looked for in vain to be sure.

        A run that was killed before its first tag has left some of the blobs that come first in the next one too.
        """
        return self.was_empty(repository) and self._misses[repository.name] >= MISSES
