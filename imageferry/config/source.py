"""A rule's source: ``repo``, ``repo:v1,v2``, ``repo@sha256:…``, ``repo:/regex/``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from imageferry.errors import ImageferryError
from imageferry.model import Source
from imageferry.reference import Reference, check_digest, check_tag, split_repository
from imageferry.selection import TagPattern

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?=.)")
_DIGEST = re.compile(r"sha(?:256|512):")


class RuleError(ImageferryError):
    """A source or a destination is invalid. Says which part and what was expected."""


@dataclass(frozen=True, slots=True)
class Item:
    """One name after the repository: a tag, a digest or both."""

    tag: str | None
    digest: str | None

    def __str__(self) -> str:
        return "@".join(filter(None, (self.tag, self.digest)))


def parse_source(text: str) -> Source:
    """Parse a source; raises ``ImageferryError`` that says which part is wrong and what was expected."""
    if not text.strip():
        raise RuleError("the source is empty: expected registry/repository, with :tags or :/regex/ if not all tags")
    refuse_scheme(text)
    repository, colon, expression = text.partition(":/")
    if "$" in repository:
        raise RuleError("a source has no environment variables: write it out; a destination may have ${NAME}")
    if colon:
        return Source(_parse_repository(repository), pattern=_parse_pattern(expression))
    if ",/" in text:
        raise RuleError("a regular expression stands alone: expected either :/regex/ or tags")
    repository, items = split_items(text)
    base = _parse_repository(repository)
    # What is named twice alike is taken once, as image-syncer does.
    items = list(dict.fromkeys(items))
    _refuse_duplicates(items)
    return Source(base, tuple(Reference(base.registry, base.repository, each.tag, each.digest) for each in items))


def refuse_scheme(text: str) -> None:
    """Raise ``RuleError`` for a web address."""
    found = _SCHEME.match(text)
    if found is not None:
        raise RuleError(f"an image has no {found[0]} before it: expected registry/repository")


def split_items(text: str) -> tuple[str, list[Item]]:
    """Split ``repository:v1,v2`` or ``repository@digest,v1`` into the repository's text and its items.

    Raises ``ImageferryError`` for an item that is empty, or neither a tag nor a digest.
    """
    head, slash, last = text.rpartition("/")
    name, separator, rest = _split(last)
    if not separator:
        return text, []
    first, *more = rest.split(",")
    items = [Item(None, check_digest(first)) if separator == "@" else _parse_item(first)]
    return head + slash + name, items + [_parse_item(each) for each in more]


def _split(last: str) -> tuple[str, str, str]:
    cut = min((index for index in (last.find(":"), last.find("@")) if index >= 0), default=len(last))
    return last[:cut], last[cut : cut + 1], last[cut + 1 :]


def _parse_item(text: str) -> Item:
    if not text:
        raise RuleError("an item is empty: expected one tag or digest between commas, and none after the last")
    if _DIGEST.match(text):
        return Item(None, check_digest(text))
    tag, at, digest = text.partition("@")
    return Item(check_tag(tag) if tag else None, check_digest(digest) if at else None)


def _parse_pattern(expression: str) -> TagPattern:
    if not expression.endswith("/"):
        raise RuleError("the regular expression does not end: expected :/regex/")
    expression = expression[:-1]
    if not expression:
        raise RuleError("the regular expression is empty: expected :/regex/, or no : for all tags")
    if not expression.isprintable():
        raise RuleError(
            r"the regular expression has a control character: in double quotes \b is one; use single quotes"
        )
    # No tag has a slash, so this can only be a second expression.
    if re.search(r"/[,:]\s*/", expression):
        raise RuleError("there are two regular expressions: expected one; (?:a|b) matches either")
    return TagPattern(expression)


def _parse_repository(text: str) -> Reference:
    return Reference(*split_repository(text))


def _refuse_duplicates(items: list[Item]) -> None:
    refuse_duplicate_tags(items)
    if sum(1 for each in items if each.digest) > 1:
        raise RuleError("there is more than one digest: expected one at most; give each a rule of its own")


def refuse_duplicate_tags(items: list[Item]) -> None:
    """Raise ``RuleError`` for a tag given twice."""
    seen: set[str] = set()
    for each in items:
        if each.tag in seen:
            raise RuleError(f"tag {each.tag} is given twice")
        if each.tag:
            seen.add(each.tag)
