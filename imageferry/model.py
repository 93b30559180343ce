"""A configuration, read and checked: rules, and how each registry is accessed."""

from __future__ import annotations

import difflib
import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr

from imageferry.errors import ImageferryError
from imageferry.existing_tags import ExistingTags
from imageferry.reference import DOCKER_HUB, Reference
from imageferry.registry_key import lookup_keys
from imageferry.selection import PlatformFilter, TagPattern
from imageferry.tag_policy import TagPolicy
from imageferry.text import shorten_repr

# Rules that are named where a text is in none.
NEAREST_NAMED = 3


class RuleNotFound(ImageferryError):
    """A configuration has no such rule, or the rule no such image."""


class RegistryAccess(BaseModel):
    """How one registry, or one namespace of it, is accessed: an entry of ``auth``.

    Secrets are ``SecretStr``, which is printed as asterisks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    username: SecretStr | None = None
    password: SecretStr | None = None
    identity_token: SecretStr | None = None
    insecure: bool = False
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    proxy: SecretStr | None = None


# The key under ``registries`` for all registries without one of their own.
ANY_REGISTRY = "*"


class Limits(BaseModel):
    """The user's limits for one registry; None is no limit.

    ``requests`` in flight at once, ``requests_per_second`` that begin, ``bandwidth`` in bytes a second.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    requests: int | None = None
    requests_per_second: float | None = None
    bandwidth: int | None = None


class RegistrySettings(Limits):
    """An entry of ``registries``; None is the built-in default.

    ``foreign_layers``: non-distributable layers are copied there too. ``create_repositories``: missing repositories are
    created there before a push (Amazon ECR).
    """

    foreign_layers: bool | None = None
    create_repositories: bool | None = None


# Docker Hub refuses an address that sends thousands of requests a minute, including HEADs (its usage policy).
BUILT_IN_LIMITS = {DOCKER_HUB: Limits(requests_per_second=40.0)}


@dataclass(frozen=True, slots=True)
class Source:
    """What a rule copies: one repository, and of it some tags and digests, those of a pattern or policy, or all tags.

    ``items`` are references of that repository, each with a tag, a digest or both (``repo:v1@sha256:…``: the
    digest is copied, and the tag is its name). Without ``items``, ``pattern`` and ``policy``: every tag.
    """

    repository: Reference
    items: tuple[Reference, ...] = ()
    pattern: TagPattern | None = None
    policy: TagPolicy | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a rule copies to: one repository, and the tags there.

    ``targets`` is empty (the source's tags and digests are kept) or has one tag or digest for each of the
    source's items, in their order; of a source with a pattern or a policy, one tag for the one that it selects.
    """

    repository: Reference
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One source and its destinations. ``name`` is the source as written, unique in its configuration."""

    name: str
    source: Source
    destinations: tuple[Destination, ...]
    platforms: PlatformFilter = field(default_factory=PlatformFilter)
    # The destinations as they were written, for the file of rules to run again.
    written: tuple[str, ...] = ()
    # The filter of a rule that has none of its own, where the whole run has none either.
    default_platforms: PlatformFilter = field(default_factory=PlatformFilter)
    # What becomes of tags that its destinations have already.
    existing: ExistingTags = field(default_factory=ExistingTags)

    def platforms_in(self, run: PlatformFilter) -> PlatformFilter:
        """Return the filter that counts: the rule's own, else that of the ``run``, else the default of its file."""
        return self.platforms or run or self.default_platforms

    @property
    def registries(self) -> frozenset[str]:
        """The registries that it reads from and writes to."""
        repositories = (self.source.repository, *(destination.repository for destination in self.destinations))
        return frozenset(repository.registry for repository in repositories)


@dataclass(frozen=True, slots=True)
class Configuration:
    """The input of a run: ``access`` by ``registry[/namespace…]``, the rules, ``registries`` by registry.

    ``others`` are the rules of the file that are not done, but name tags that no other rule may write.
    """

    access: dict[str, RegistryAccess]
    rules: tuple[Rule, ...]
    registries: dict[str, RegistrySettings] = field(default_factory=dict)
    others: tuple[Rule, ...] = ()

    def only(self, rule_name: str, images: Sequence[str] | None = None) -> Configuration:
        """Return the configuration with one of its rules alone, and of that rule these tags and digests; None: all.

        Raises ``RuleNotFound``.
        """
        rule = next((rule for rule in self.rules if rule.name == rule_name), None)
        if rule is None:
            raise RuleNotFound(f"the configuration has no rule {rule_name}: expected a source as it is written there")
        others = tuple(other for other in self.rules if other is not rule)
        return replace(self, rules=(rule if images is None else _select_images(rule, images),), others=others)

    def with_text(self, texts: Sequence[str]) -> tuple[Rule, ...]:
        """Return the rules whose source contains one of the texts, in their order; without texts, all.

        Raises ``RuleNotFound`` for a text that is in no source.
        """
        for text in texts:
            if not any(text in rule.name for rule in self.rules):
                raise RuleNotFound(_describe_nearest(text, [rule.name for rule in self.rules]))
        return tuple(rule for rule in self.rules if not texts or any(text in rule.name for text in texts))

    def settings_of(self, registry: str) -> RegistrySettings:
        """Return the settings of a registry: each key from its own entry, else that of ``*``, else the default."""
        entries = (self.registries.get(registry), self.registries.get(ANY_REGISTRY), BUILT_IN_LIMITS.get(registry))
        settings: dict[str, Any] = {}
        for entry in entries:
            if entry is not None:
                settings = entry.model_dump(exclude_none=True) | settings
        return RegistrySettings(**settings)

    @property
    def insecure_hosts(self) -> frozenset[str]:
        """The hosts, without a port, that entries of ``auth`` mark as insecure: token servers and stores too."""
        hosts = (key.partition("/")[0] for key, access in self.access.items() if access.insecure)
        return frozenset(host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host for host in hosts)

    def access_to(self, reference: Reference) -> RegistryAccess | None:
        """Return the entry of ``auth`` for a repository: the one with the longest key that contains it, or None."""
        for key in lookup_keys(reference.name):
            if key in self.access:
                return self.access[key]
        return None


def _describe_nearest(text: str, names: Sequence[str]) -> str:
    """Return what is wrong with a text that is in none of the rules' names, and which of these are like it."""
    if not names:
        return f"no rule's source contains {shorten_repr(text)}: there are no rules"
    matcher = difflib.SequenceMatcher(b=text.lower())

    def likeness(name: str) -> float:
        ratios = []
        for part in (name, *re.split("[/:@,]", name)):
            matcher.set_seq1(part.lower())
            ratios.append(matcher.ratio())
        return max(ratios)

    near = heapq.nlargest(NEAREST_NAMED, names, key=likeness)
    return f"no rule's source contains {shorten_repr(text)}; nearest: {', '.join(near)}"


def _select_images(rule: Rule, images: Sequence[str]) -> Rule:
    """Return the rule with these of its images alone. Raises ``RuleNotFound`` for one that it does not copy."""
    wanted = tuple(dict.fromkeys(images))
    known = {item.tag or item.target: number for number, item in enumerate(rule.source.items)}
    if not known:
        return replace(rule, source=Source(rule.source.repository, _select_tags(rule.source, wanted)))
    if unknown := [image for image in wanted if image not in known]:
        raise RuleNotFound(f"rule {rule.name} does not copy {unknown[0]}")
    numbers = [known[image] for image in wanted]
    source = Source(rule.source.repository, tuple(rule.source.items[number] for number in numbers))
    return replace(
        rule, source=source, destinations=tuple(_select_targets(each, numbers) for each in rule.destinations)
    )


def _select_tags(source: Source, tags: tuple[str, ...]) -> tuple[Reference, ...]:
    """Return the references of tags of a source that names none: its pattern or policy must be able to select each.

    What a policy selects was decided where the tags were listed: another list may have other tags that are newest.
    """
    selected = set(source.pattern.select(tags)) if source.pattern else set(tags)
    may_take = source.policy.may_take if source.policy else selected.__contains__
    if other := [tag for tag in tags if tag not in selected or not may_take(tag)]:
        raise RuleNotFound(f"the tag {other[0]} is none that the rule selects")
    return tuple(source.repository.at(tag) for tag in tags)


def _select_targets(destination: Destination, numbers: list[int]) -> Destination:
    """Return the destination with the targets of these of the source's items, where it has targets."""
    if not destination.targets:
        return destination
    return replace(destination, targets=tuple(destination.targets[number] for number in numbers))
