"""A rule's ``tags``: which of the tags of its source it copies."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, TypeVar

from imageferry.config.document import Document, KeyPath, Number, type_name
from imageferry.config.schema import Schema, validate, wrong_type
from imageferry.errors import ImageferryError
from imageferry.newest import NewestTags, NewestVersions
from imageferry.patterns import PatternError, Patterns
from imageferry.reference import check_tag
from imageferry.tag_policy import TagPolicy
from imageferry.version_range import VersionRange

_AGE = re.compile(r"(?P<figure>[0-9]{1,6})(?P<unit>[hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_COUNT = re.compile(r"[1-9][0-9]{0,8}")
_NUMBERS = re.compile(r"([1-4])(?:-([1-4]))?")
_LEVELS = ("majors", "minors", "patches")
# What is neither of a tag nor of a glob.
_NOT_OF_A_GLOB = re.compile(r"[^A-Za-z0-9_.*?\[\]!{},-]")
_GLOB = re.compile(r"[*?\[\]{}/]")

T = TypeVar("T")


class TagsSchema(Schema):
    """The keys of ``tags``; each value is checked by hand, since some take several forms."""

    include: Any = None
    exclude: Any = None
    versions: Any = None
    prereleases: bool = False
    variants: Any = None
    numbers: Any = None
    newest: Any = None
    max_age: Any = None
    always: Any = None
    at_least: Any = None


class NewestSchema(Schema):
    """The keys of ``newest`` as a mapping."""

    majors: Any = None
    minors: Any = None
    patches: Any = None
    tags: Any = None
    by: Any = None


def read_tag_policy(document: Document, path: KeyPath) -> TagPolicy:
    """Return the policy at ``path``: a mapping, or a list, which is what to include; report the errors in it."""
    value = document.at(path)
    if isinstance(value, list):
        return TagPolicy(include=_read_patterns(document, path))
    if not isinstance(value, dict):
        document.report(path, f"is {type_name(value)}: expected a list of tags and patterns, or a mapping")
        return TagPolicy()
    known = validate(document, path, TagsSchema)
    reader = _PolicyReader(document, path, value)
    policy = TagPolicy(
        include=reader.read("include", _read_patterns),
        exclude=reader.read("exclude", _read_patterns),
        versions=reader.read("versions", _read_range),
        prereleases=known.prereleases if known is not None and "prereleases" in value else None,
        variants=reader.read("variants", _read_patterns),
        numbers=reader.read("numbers", _read_numbers),
        newest=_read_newest(document, (*path, "newest")) if "newest" in value else None,
        max_age=reader.read("max_age", _read_age),
        always=reader.read("always", _read_tags) or frozenset(),
        at_least=reader.read("at_least", _read_count) or 0,
    )
    _refuse_nothing(document, path, policy)
    return policy


def _refuse_nothing(document: Document, path: KeyPath, policy: TagPolicy) -> None:
    """Report what can be seen to select nothing."""
    if policy.exclude is None:
        return
    exclude = policy.exclude
    if exclude.match_everything():
        document.report((*path, "exclude"), "leaves nothing: it excludes every tag")
    elif policy.include is not None and policy.include.patterns:
        names = [pattern.text for pattern in policy.include.patterns]
        if all(_GLOB.search(name) is None and exclude.matches(name) for name in names):
            document.report((*path, "exclude"), "leaves nothing: it excludes all that is included")


class _PolicyReader:
    """Reads the keys that are there."""

    def __init__(self, document: Document, path: KeyPath, value: dict[str, Any]) -> None:
        self._document, self._path, self._value = document, path, value

    def read(self, key: str, parse: Callable[[Document, KeyPath], T | None]) -> T | None:
        """Return what a key says; None without it, or where it is wrong, which is reported."""
        return parse(self._document, (*self._path, key)) if key in self._value else None


def _read_list(document: Document, path: KeyPath) -> list[tuple[KeyPath, str]]:
    """Return the texts of a list with their paths; numbers are taken as they are written: ``1.25`` is a tag."""
    value = document.at(path)
    if not isinstance(value, list):
        document.report(path, f"is {type_name(value)}: expected a list, such as [v1.*, latest]")
        return []
    if not value:
        document.report(path, "is empty: nothing would be copied" if path[-1] in ("include", "tags") else "is empty")
    found = []
    for index, each in enumerate(value):
        if isinstance(each, (str, Number)):
            found.append(((*path, index), each.text if isinstance(each, Number) else each))
        else:
            document.report((*path, index), wrong_type(each, "text", path))
    return found


def _read_patterns(document: Document, path: KeyPath) -> Patterns | None:
    texts = []
    for inner, text in _read_list(document, path):
        try:
            _check_pattern(text, path)
            Patterns.parse([text])
        except ImageferryError as error:
            document.report(inner, str(error))
        else:
            texts.append(text)
    return Patterns.parse(texts)


def _check_pattern(text: str, path: KeyPath) -> None:
    """Raise ``PatternError`` for what can match no tag, or no variant of one, as it is written."""
    if not text and path[-1] != "variants":
        raise PatternError("is empty: expected a tag, a glob such as v1.*, or /expression/")
    if text.startswith("/"):
        if len(text) < 2 or not text.endswith("/"):
            raise PatternError("the regular expression does not end: expected /regex/")
        if text == "//":
            raise PatternError("the regular expression is empty: expected /regex/")
        if not text.isprintable():
            raise PatternError(
                r"the regular expression has a control character: in double quotes \b is one; use single quotes"
            )
    elif odd := _NOT_OF_A_GLOB.search(text):
        raise PatternError(f"no tag has {odd[0]!r}: a regular expression stands between slashes, as /^v1/")


def _read_tags(document: Document, path: KeyPath) -> frozenset[str]:
    tags = set()
    for inner, text in _read_list(document, path):
        try:
            tags.add(check_tag(text))
        except ImageferryError as error:
            document.report(inner, f"{error}; a pattern belongs into include")
    return frozenset(tags)


def _read_range(document: Document, path: KeyPath) -> VersionRange | None:
    value = document.at(path)
    if not isinstance(value, (str, Number)):
        document.report(path, wrong_type(value, "text", path))
        return None
    try:
        return VersionRange.parse(value.text if isinstance(value, Number) else value)
    except ImageferryError as error:
        document.report(path, str(error))
        return None


def _read_numbers(document: Document, path: KeyPath) -> tuple[int, int] | None:
    value = document.at(path)
    found = _NUMBERS.fullmatch(_text(value))
    if found is None or int(found[1]) > int(found[2] or found[1]):
        document.report(path, "expected how many numbers a tag's version has: from 1 to 4, or such as 2-4")
        return None
    return int(found[1]), int(found[2] or found[1])


def _text(value: Any) -> str:
    return value.text if isinstance(value, Number) else value if isinstance(value, str) else ""


def _read_count(document: Document, path: KeyPath) -> int | None:
    value = document.at(path)
    if isinstance(value, Number) and _COUNT.fullmatch(value.text):
        return int(value.text)
    document.report(path, "expected a number from 1")
    return None


def _read_newest(document: Document, path: KeyPath) -> NewestVersions | NewestTags | None:
    value = document.at(path)
    if not isinstance(value, dict):
        count = _read_count(document, path)
        return None if count is None else NewestVersions(count)
    if validate(document, path, NewestSchema) is None:
        return None
    counts = {key: _read_count(document, (*path, key)) for key in (*_LEVELS, "tags") if key in value}
    if "tags" in value and len(counts) > 1:
        document.report(path, "expected either tags, or majors, minors and patches")
    if not counts:
        document.report(path, "is empty: expected majors, minors, patches or tags")
    by = _read_order(document, path, value)
    if "tags" in value:
        return NewestTags(counts["tags"] or 1, by)
    return NewestVersions(None, counts.get("majors"), counts.get("minors"), counts.get("patches"))


def _read_order(document: Document, path: KeyPath, value: dict[str, Any]) -> Literal["version", "date"]:
    by = value.get("by", "version")
    if by not in ("version", "date"):
        document.report((*path, "by"), "expected version or date")
    elif "by" in value and "tags" not in value:
        document.report((*path, "by"), "is for tags: {tags: 10, by: date}")
    return "date" if by == "date" else "version"


def _read_age(document: Document, path: KeyPath) -> timedelta | None:
    value = document.at(path)
    found = _AGE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not int(found["figure"]):
        document.report(path, "expected a number with h, d or w, such as 180d")
        return None
    return timedelta(**{_UNITS[found["unit"]]: int(found["figure"])})
