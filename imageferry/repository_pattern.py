"""Sources that name many repositories: ``quay.io/coreos/**``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from imageferry.patterns import PatternError, Patterns, compile_expression, translate_glob
from imageferry.reference import DOCKER_HUB, check_registry

_WILDCARDS = frozenset("*?[{")


class RepositoryPatternError(PatternError):
    """A text is not a pattern of repositories of one registry."""


def has_wildcards(text: str) -> bool:
    """Return whether a source names its repositories by a pattern, as far as its tags."""
    return not _WILDCARDS.isdisjoint(text)


@dataclass(frozen=True, slots=True)
class RepositoryPattern:
    """The repositories of one registry whose path a glob matches whole.

    ``prefix`` is what the paths of all of them begin with, up to the last slash before the first wildcard.
    """

    registry: str
    glob: str
    _match: Callable[[str], Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        expression = translate_glob(self.glob, capture=True)
        object.__setattr__(self, "_match", compile_expression(expression, self.glob).search)

    @classmethod
    def parse(cls, text: str) -> RepositoryPattern:
        """Parse ``registry/glob``. Raises ``RepositoryPatternError``."""
        host, slash, glob = text.partition("/")
        if not slash or not ("." in host or ":" in host or host == "localhost"):
            host, glob = DOCKER_HUB, text
        if has_wildcards(host):
            raise RepositoryPatternError(f"{text!r}: a registry is named in full, only its repositories by a pattern")
        registry = check_registry(host)
        first = glob.partition("/")[0]
        if registry == DOCKER_HUB and has_wildcards(first):
            raise RepositoryPatternError(
                "Docker Hub cannot be listed as a whole: name a namespace, as docker.io/team/*"
            )
        return cls(registry, glob)

    @property
    def prefix(self) -> str:
        """The path before the first part with a wildcard, without a slash at its end."""
        parts = self.glob.split("/")
        plain = next((number for number, part in enumerate(parts) if has_wildcards(part)), len(parts))
        return "/".join(parts[:plain])

    def match(self, path: str) -> tuple[str, ...] | None:
        """Return what each ``*`` and ``**`` took of a path; None where it does not match."""
        found = self._match(path)
        return None if found is None else tuple(group or "" for group in found.groups())

    def __str__(self) -> str:
        return f"{self.registry}/{self.glob}"


@dataclass(frozen=True, slots=True)
class RepositoryPolicy:
    """What a rule says about the repositories that its pattern matches.

    ``include`` and ``exclude`` are on paths; more than ``most`` or fewer than ``at_least`` fail the rule.
    """

    include: Patterns | None = None
    exclude: Patterns | None = None
    most: int = 10_000
    at_least: int = 1

    def takes(self, path: str) -> bool:
        """Return whether a repository that the pattern matches is copied."""
        if self.include is not None and not self.include.matches(path):
            return False
        return self.exclude is None or not self.exclude.matches(path)
