"""The rules to run again after a run, in the forms that ``rules`` reads."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from imageferry.config.defaults import Defaults
from imageferry.config.destination import parse_destination
from imageferry.config.environment import UNKNOWN_ENVIRONMENT
from imageferry.config.source import parse_source
from imageferry.errors import ImageferryError
from imageferry.model import Destination, Source
from imageferry.reference import split_repository
from imageferry.report.outcomes import Outcome, Report

# What makes the name of a rule unique whose source stands in another rule too; no source ends so.
_NUMBER = re.compile(r" \([0-9]+\)$")


@dataclass(frozen=True, slots=True)
class _Failed:
    """A rule to run again, as it is written; ``tag`` where it names one and no digest."""

    source: str
    destination: str
    platforms: tuple[str, ...]
    # Its other keys, as they are written.
    options: tuple[tuple[str, str | tuple[str, ...]], ...] = ()
    # Its key ``tags``, as JSON; "" without.
    policy: str = ""
    repository: str = ""
    tag: str | None = None
    # The repository and the tags that it writes, where they are known before tags are listed.
    writes: tuple[str, ...] = ()


def rules_to_run_again(report: Report) -> dict[str, list[str]] | list[dict[str, Any]]:
    """Return a rule for each failure of a run: a mapping, or a list where one has a platform filter or another option.

    Whatever failed, the rules can be read again: what no file may say of named tags (two rules that write one tag, a
    tag that is none) is said with an expression, which is judged once the tags are listed.
    """
    failed = [*dict.fromkeys(_failed_rules(report))]
    writers = Counter(name for each in failed for name in each.writes)
    rules = [_as_expression(each) if any(writers[name] > 1 for name in each.writes) else each for each in failed]
    if any(each.platforms or each.options or each.policy for each in rules):
        # Only the form of a list can have options.
        return [_as_entry(each) for each in rules]
    found: dict[str, list[str]] = {}
    for each in rules:
        found.setdefault(each.source, []).append(each.destination)
    return found


def _as_entry(rule: _Failed) -> dict[str, Any]:
    entry: dict[str, Any] = {"from": rule.source, "to": rule.destination}
    if rule.platforms:
        entry["platforms"] = [*rule.platforms]
    if rule.policy:
        entry["tags"] = json.loads(rule.policy)
    return entry | {key: [*value] if isinstance(value, tuple) else value for key, value in rule.options}


def _failed_rules(report: Report) -> Iterator[_Failed]:
    for image in report.images:
        if image.outcome is Outcome.FAILED:
            source, destination = report.retry_as.get(
                (image.source, image.destination), (image.source, image.destination)
            )
            platforms = report.retry_platforms.get((source, destination), [])
            options = report.retry_options.get((source, destination), {})
            tags = report.retry_tags.get((source, destination))
            written = _Failed(
                _NUMBER.sub("", source),
                destination,
                tuple(platforms),
                tuple(options.items()),
                "" if tags is None else json.dumps(tags),
            )
            yield _read(written) or _read_apart(written)


def _read(rule: _Failed) -> _Failed | None:
    """Return the rule with what it names, or None where a file with it would be refused."""
    try:
        source = parse_source(rule.source)
        destination = parse_destination(rule.destination, source, Defaults(unusable=True), UNKNOWN_ENVIRONMENT)
    except ImageferryError:
        return None
    if destination is None:
        # It has variables, or is the default one: written by a person, and read before.
        return rule
    tag = source.items[0].tag if len(source.items) == 1 and not source.items[0].digest else None
    return replace(rule, repository=source.repository.name, tag=tag, writes=tuple(_written(source, destination)))


def _written(source: Source, destination: Destination) -> Iterator[str]:
    for target in destination.targets or [each.tag or "" for each in source.items]:
        if target and ":" not in target:
            yield f"{destination.repository.name}:{target}"


def _read_apart(rule: _Failed) -> _Failed:
    """Return a rule whose source or destination no file can name, told apart into repositories and tags."""
    repository, tag = _split(rule.source)
    there, _ = _split(rule.destination)
    expression = _as_expression(replace(rule, repository=repository, tag=tag))
    # A name at the destination that is none is left out: it was the source's.
    return expression if _read(expression) else replace(expression, destination=there)


def _split(text: str) -> tuple[str, str]:
    """Return ``host/repository`` and the rest of ``host[:port]/repository:rest``; the text and "" if there is none."""
    for found in re.finditer("[:@]", text):
        before = text[: found.start()]
        try:
            split_repository(before)
        except ImageferryError:
            continue
        if "/" in before:
            return before, text[found.end() :]
    return text, ""


def _as_expression(rule: _Failed) -> _Failed:
    """Return the rule with an expression that matches its one tag alone; itself where it has none.

    Two rules may not name one tag, not even with expressions: a tag that keeps its name is not named.
    """
    if rule.tag is None:
        return rule
    there, tag = _split(rule.destination)
    destination = there if tag == rule.tag else rule.destination
    exact = "".join(each if re.fullmatch("[A-Za-z0-9_-]", each) else rf"\x{{{ord(each):x}}}" for each in rule.tag)
    return replace(rule, source=f"{rule.repository}:/^{exact}$/", destination=destination)
