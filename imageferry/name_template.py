"""The name of a repository at its destination, made from its name at the source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import re2

from imageferry.errors import ImageferryError, InvalidReference
from imageferry.patterns import compile_expression
from imageferry.reference import DOCKER_HUB, Reference, check_repository, split_repository

VARIABLES = ("path", "name", "namespace", "registry", "flat", "tag")

# Docker Hub has namespace/name and nothing deeper.
BUILT_IN_LEVELS = {DOCKER_HUB: 2}

_VARIABLE = re.compile(r"\{([^{}]*)\}")


class TemplateError(ImageferryError, ValueError):
    """A template cannot be filled in, or what comes of it is no name."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """One entry of ``map``: a path that ``match`` (RE2) matches gets what it matches replaced by ``to``."""

    match: str
    to: str

    def __post_init__(self) -> None:
        groups = compile_expression(self.match, self.match).groups
        for number in re.findall(r"\\([0-9])", self.to):
            if int(number) > groups:
                raise TemplateError(f"{self.to!r} names group {number}, and {self.match!r} has {groups}")

    def apply(self, path: str) -> str | None:
        """Return the path with what matches replaced once; None where nothing matches."""
        expression: Any = compile_expression(self.match, self.match)
        if expression.search(path) is None:
            return None
        replaced: str = re2.sub(expression, self.to, path, 1)
        return replaced


@dataclass(frozen=True, slots=True)
class PathMap:
    """How paths are renamed: the first entry that matches counts. ``unmatched`` paths are kept, or fail."""

    entries: tuple[Replacement, ...] = ()
    keeps_unmatched: bool = True

    def apply(self, path: str) -> str:
        """Return the path that counts at the destination. Raises ``TemplateError``."""
        for entry in self.entries:
            replaced = entry.apply(path)
            if replaced is not None:
                return replaced
        if not self.keeps_unmatched:
            raise TemplateError(f"no entry of map matches {path} (unmatched: fail)")
        return path


@dataclass(frozen=True, slots=True)
class NameTemplate:
    """A destination with variables in braces: ``registry.example/mirror/{path}``."""

    text: str

    @classmethod
    def parse(cls, text: str, captures: int = 0) -> NameTemplate:
        """Check a template; ``captures`` is how many stars its source has. Raises ``TemplateError``."""
        repository, _, tag = split_tag(text)
        for name in _VARIABLE.findall(repository):
            _check_variable(name, captures)
        for name in _VARIABLE.findall(tag):
            if name != "tag":
                _check_variable(name, captures)
        if "{tag}" in repository:
            raise TemplateError("{tag} stands after the colon: expected such as registry.example/x:{tag}-amd64")
        if "{" in _VARIABLE.sub("", text) or "}" in _VARIABLE.sub("", text):
            raise TemplateError(f"a brace is not closed in {text!r}")
        return cls(text)

    @property
    def names_repository(self) -> bool:
        """Whether each source repository gets a name of its own (as far as can be seen)."""
        found = set(_VARIABLE.findall(split_tag(self.text)[0]))
        return bool(found & {"path", "name", "flat"}) or any(name.isdigit() for name in found)

    def render(self, source: Reference, captures: Sequence[str] = (), path_map: PathMap | None = None) -> str:
        """Return the destination's repository as text, ``registry/path``, without tag.

        Raises ``TemplateError`` with both names where it is no repository.
        """
        path = (path_map or PathMap()).apply(source.repository)
        namespace, _, name = path.rpartition("/")
        values = {
            "path": path,
            "name": name,
            "namespace": namespace,
            "registry": re.sub(r"[\[\]]", "", source.registry).replace(":", "-").strip("-"),
            "flat": path.replace("/", "-"),
            **{str(number): text for number, text in enumerate(captures, 1)},
        }
        template, _, _ = split_tag(self.text)
        filled = _VARIABLE.sub(lambda found: values[found[1]], template)
        try:
            registry, repository = split_repository(_join_parts(filled))
            check_repository(repository)
        except InvalidReference as error:
            raise TemplateError(f"{source.name} would become {filled}, which is no repository: {error}") from None
        return f"{registry}/{repository}"

    def render_tag(self, tag: str) -> str:
        """Return the tag at the destination of a source's tag; the tag itself where the template names none."""
        _, colon, template = split_tag(self.text)
        return template.replace("{tag}", tag) if colon else tag


def has_template(text: str) -> bool:
    """Return whether a destination has variables in braces; ``${NAME}`` is none."""
    return _VARIABLE.search(text.replace("${", "")) is not None


def split_tag(text: str) -> tuple[str, str, str]:
    """Split a destination at the colon before its tags, which is the one after the last slash."""
    head, slash, last = text.rpartition("/")
    name, colon, tag = last.partition(":")
    return head + slash + name, colon, tag


def check_levels(reference: Reference, levels: int | None) -> None:
    """Raise ``TemplateError`` where a repository's path has more parts than its registry takes."""
    most = levels or BUILT_IN_LEVELS.get(reference.registry)
    count = reference.repository.count("/") + 1
    if most is not None and count > most:
        raise TemplateError(
            f"{reference.name} has {count} levels and {reference.registry} takes {most}: use {{name}}, {{flat}} or map"
        )


def _check_variable(name: str, captures: int) -> None:
    if name.isdigit():
        if not 1 <= int(name) <= captures:
            stars = f"{captures} *" if captures else "no *"
            raise TemplateError(f"{{{name}}} stands for a * of the source, which has {stars}")
    elif name not in VARIABLES:
        known = ", ".join(f"{{{each}}}" for each in VARIABLES)
        raise TemplateError(f"unknown variable {{{name}}}; known are {known}, {{1}}, {{2}} …")


def _join_parts(text: str) -> str:
    """Leave out the slashes that an empty value leaves behind, as {namespace} of a path without one does."""
    return re.sub(r"/{2,}", "/", text).rstrip("/")
