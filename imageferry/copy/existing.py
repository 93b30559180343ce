"""Tags that are at a destination and must not be overwritten: judged once more just before the tag is put.

A list of tags may be short without saying so, an account may see a tag only once its repository is there, and another
writer may have come first. What is left is the moment between the look and the put: no registry takes a condition.
"""

from __future__ import annotations

from imageferry.copy.errors import CannotJudge, OtherContent
from imageferry.existing_tags import ExistingTags
from imageferry.reference import Reference
from imageferry.registry import Repository
from imageferry.registry.errors import RegistryError

# How registries refuse to say what is there.
_REFUSALS = frozenset({400, 401, 403})


async def find_kept(destination: Reference, existing: ExistingTags, repository: Repository, digest: str) -> str | None:
    """Return the digest of what stays at a destination instead of ``digest``; None where that is to be put.

    Raises ``OtherContent`` where other content is a failure, ``CannotJudge`` and other ``ImageferryError``.
    """
    if not existing.guards(destination.tag):
        return None
    try:
        found = await repository.manifests.head(destination.target)
    except RegistryError as error:
        if error.status in _REFUSALS:
            raise CannotJudge(str(error)) from None
        raise
    # The same content was put by an earlier attempt, whose answer was lost.
    if found is None or found.digest == digest:
        return None
    if existing.keeps(destination.tag):
        return found.digest
    raise OtherContent(str(destination.tag), found.digest, digest)
