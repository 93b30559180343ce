"""The keys ``existing`` and ``immutable`` of a rule: what becomes of tags that are at the destination already."""

from __future__ import annotations

import re

from imageferry.config.document import Document, KeyPath, type_name
from imageferry.existing_tags import Existing, ExistingTags
from imageferry.patterns import Pattern, PatternError, Patterns

_EXPECTED = "expected update, keep or fail"

# What a glob of tags may have: the characters of a tag (distribution specification, "Pull"), and wildcards.
_NO_TAG_HAS = re.compile(r"[^A-Za-z0-9_.\-*?\[\]!{},]")

# The parts of a glob between brackets.
_BRACKETED = re.compile(r"\[!?\]?[^\]]*\]|\{[^{}]*\}")


_BUILT_IN = ExistingTags()


def read_existing(document: Document, path: KeyPath, default: ExistingTags = _BUILT_IN) -> ExistingTags:
    """Return what the mapping at ``path``, whose types are right, says of tags that are there; report the errors in it.

    A key that is not there is that of ``default``.
    """
    written = document.at(path)
    existing, immutable = default.existing, default.immutable
    if "existing" in written:
        existing = _read_policy(document, (*path, "existing"), written["existing"])
    if "immutable" in written:
        immutable = _read_patterns(document, (*path, "immutable"), written["immutable"])
    return ExistingTags(existing, immutable)


def _read_policy(document: Document, path: KeyPath, value: object) -> Existing:
    if not isinstance(value, str):
        document.report(path, f"is {type_name(value)}: {_EXPECTED}")
    elif value in list(Existing):
        return Existing(value)
    else:
        document.report(path, f"{value!r}: {_EXPECTED}")
    return Existing.UPDATE


def _read_patterns(document: Document, path: KeyPath, texts: list[str] | None) -> Patterns:
    if not texts:
        problem = "is nothing" if texts is None else "is empty"
        document.report(path, f'{problem}: expected a list such as ["v*.*.*"], or leave the key out')
        return Patterns(())
    found = []
    for index, text in enumerate(texts):
        try:
            found.append(_read_pattern(text))
        except PatternError as error:
            document.report((*path, index), str(error))
    return Patterns(tuple(found))


def _read_pattern(text: str) -> Pattern:
    """Return a pattern of tags. Raises ``PatternError``, also for a glob that no tag can match."""
    pattern = Pattern(text)
    if len(text) > 1 and text.startswith("/") and text.endswith("/"):
        return pattern
    if not text:
        raise PatternError("is empty, as no tag is: expected a pattern such as v*.*.*")
    if wrong := _NO_TAG_HAS.search(text):
        raise PatternError(
            f"{text!r} matches no tag: none has {wrong[0]!r}; an expression is written /between slashes/"
        )
    if stray := re.search(r"[\[\]{}]", _BRACKETED.sub("", text)):
        raise PatternError(f"{text!r} matches no tag: its {stray[0]!r} has no partner")
    return pattern
