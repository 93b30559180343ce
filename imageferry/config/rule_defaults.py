"""What ``defaults.rules`` gives to every rule: options that an entry does not have itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from imageferry.config.document import Document, KeyPath
from imageferry.config.existing import read_existing
from imageferry.config.schema import RuleDefaultsSchema, validate
from imageferry.config.tag_policy import read_tag_policy
from imageferry.errors import ImageferryError
from imageferry.existing_tags import ExistingTags
from imageferry.selection import Platform, PlatformFilter
from imageferry.tag_policy import TagPolicy


@dataclass(frozen=True, slots=True)
class RuleDefaults:
    """The options of rules that do not say them: a key is taken whole, from the entry or from here."""

    tags: TagPolicy | None = None
    platforms: PlatformFilter = field(default_factory=PlatformFilter)
    existing: ExistingTags = field(default_factory=ExistingTags)


def read_rule_defaults(document: Document, path: KeyPath) -> RuleDefaults:
    """Return the options of the mapping at ``path``; report the errors in it."""
    entry = validate(document, path, RuleDefaultsSchema)
    value = document.at(path)
    # An error in one option hides none in another.
    tags = read_tag_policy(document, (*path, "tags")) if isinstance(value, dict) and "tags" in value else None
    if entry is None:
        return RuleDefaults(tags)
    platforms = read_platforms(document, (*path, "platforms"), entry.platforms)
    return RuleDefaults(tags, platforms, read_existing(document, path))


def read_platforms(document: Document, path: KeyPath, texts: Iterable[str] | None) -> PlatformFilter:
    """Return the filter of a key ``platforms``, whose value is ``texts``; None: nothing is there. Report its errors."""
    if texts is None:
        if path[-1] in document.at(path[:-1]):
            document.report(path, "is nothing: expected a list such as [linux/amd64], or no key for all")
        return PlatformFilter()
    if not texts:
        document.report(path, "is empty: expected os/architecture, or leave the key out for all platforms")
    found = []
    for index, text in enumerate(texts):
        try:
            found.append(Platform.parse(text))
        except ImageferryError as error:
            document.report((*path, index), str(error))
    return PlatformFilter(tuple(found))
