"""The repositories of a project at Google's registries: ``tags/list`` of each path names what is below it.

Artifact Registry (``*.pkg.dev``) and Container Registry (``*.gcr.io``) have no ``_catalog``; the form is that which
go-containerregistry's ``gcrane`` reads. The registry's own token is enough.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from imageferry.listing_api import ListingApi
from imageferry.registry.client import RegistryClient
from imageferry.registry.errors import NotFound
from imageferry.registry.listings.listing import (
    ListedRepository,
    ListedTag,
    NotListable,
    check_listable,
    read_size,
    read_timestamp,
)
from imageferry.registry.listings.pages import Pages

# ``timeUploadedMs`` is in thousandths of a second.
_MILLISECONDS = 1000


@dataclass(slots=True)
class _Folder:
    """What a path has: further parts below it, tags, and manifests by digest."""

    children: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    manifests: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def pushed(self) -> datetime | None:
        """When its newest manifest was pushed."""
        return max(filter(None, map(_date_of, self.manifests.values())), default=None)


class ArtifactRegistry:
    """Lists what is below a path, path by path."""

    api: ListingApi = "gar"

    def __init__(self, client: RegistryClient) -> None:
        self._client = client

    async def repositories(self, prefix: str) -> AsyncIterator[ListedRepository]:
        """Yield each repository at or below the prefix, once: see ``RepositoryListing``."""
        check_listable(self._client.registry, prefix, self.api)
        action = f"list repositories of {self._client.registry}/{prefix}"
        if problem := ListedRepository.of(prefix).problem:
            raise NotListable(action, problem)
        pages = Pages(self._client, action)
        waiting = [prefix]
        while waiting:
            path = waiting.pop()
            try:
                folder = await _read(pages, path)
            except NotFound:
                # One that was deleted since it was listed.
                if path == prefix:
                    raise
                continue
            if folder.tags or folder.manifests:
                pages.add()
                yield ListedRepository.of(path, folder.pushed)
            for child in sorted(folder.children, reverse=True):
                below = ListedRepository.of(f"{path}/{child}")
                if below.problem:
                    pages.add()
                    yield below
                else:
                    waiting.append(below.path)

    async def tags(self, repository: str) -> AsyncIterator[ListedTag]:
        """Yield each tag of a repository: see ``TagListing``."""
        pages = Pages(self._client, f"list tags of {self._client.registry}/{repository}", noun="tags")
        try:
            folder = await _read(pages, repository)
        except NotFound:
            return
        pages.add(len(folder.tags))
        listed = {
            name: ListedTag(name, pages.digest(digest), _date_of(manifest), read_size(manifest.get("imageSizeBytes")))
            for digest, manifest in folder.manifests.items()
            for name in _texts(pages, manifest.get("tag"), "tags")
        }
        if unknown := listed.keys() - set(folder.tags):
            raise pages.incomplete(f"the tag {min(unknown)} is in no list of its tags")
        for name in dict.fromkeys(folder.tags):
            yield listed.get(name, ListedTag(name))


async def _read(pages: Pages, path: str) -> _Folder:
    """Return what a path has, from all of its pages. Raises ``RegistryError``."""
    folder = _Folder()
    following: str | None = f"/v2/{path}/tags/list"
    while following is not None:
        answer = await pages.get(following, (f"repository:{path}:pull",))
        document = pages.mapping(answer)
        if "child" not in document:
            raise pages.invalid("no list of what is below it, as Google's registries do")
        folder.children += _texts(pages, document["child"], "paths below it")
        folder.tags += _texts(pages, document.get("tags"), "tags")
        manifests = {} if document.get("manifest") is None else document["manifest"]
        if not isinstance(manifests, dict) or not all(isinstance(each, dict) for each in manifests.values()):
            raise pages.invalid("no manifests by digest")
        folder.manifests |= manifests
        following = pages.next_link(answer)
    return folder


def _texts(pages: Pages, listed: object, what: str) -> list[str]:
    """Return a list of texts; null is an empty one. Raises ``InvalidResponse``."""
    if listed is None:
        return []
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise pages.invalid(f"no list of {what}")
    return listed


def _date_of(manifest: dict[str, Any]) -> datetime | None:
    return read_timestamp(manifest.get("timeUploadedMs"), per_second=_MILLISECONDS)
