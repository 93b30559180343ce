"""The tags of a repository and the platforms of an image that a rule selects."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import re2

from imageferry.errors import ImageferryError

ANY = "*"


class SelectionError(ImageferryError, ValueError):
    """A regular expression or a platform is invalid."""


@dataclass(frozen=True, slots=True)
class TagPattern:
    """The tags that a regular expression matches anywhere (RE2 syntax, as image-syncer's)."""

    expression: str

    def __post_init__(self) -> None:
        try:
            re2.compile(self.expression, _options())
        except re2.error as error:
            problem = _describe(error)
        else:
            return
        raise SelectionError(f"{self.expression!r} is not a regular expression (RE2): {problem}")

    def select(self, tags: Iterable[str]) -> list[str]:
        """Return the tags that match, in their order."""
        search = re2.compile(self.expression, _options()).search
        return [tag for tag in tags if search(tag)]


def _options() -> re2.Options:
    # RE2 would write an error to standard error as well.
    options = re2.Options()
    options.log_errors = False
    return options


def _describe(error: Exception) -> str:
    text = error.args[0] if error.args else "cannot be read"
    return text.decode() if isinstance(text, bytes) else str(text)


_PART = re.compile(r"[A-Za-z0-9_.+-]+|\*")


@dataclass(frozen=True, slots=True)
class Platform:
    """A pattern of platforms: ``os[:version]/architecture[/variant]``; ``*`` or an empty part matches any."""

    os: str = ANY
    os_version: str | None = None
    architecture: str = ANY
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Parse ``linux``, ``linux/amd64``, ``linux/arm64/v8``, ``linux/arm64:v8``, ``windows:10.0/amd64``.

        Raises ``SelectionError``.
        """
        system, _, rest = text.strip().partition("/")
        os, colon, version = system.partition(":")
        architecture, variant = split_architecture(rest or ANY)
        parts = (os, version if colon else None, architecture, variant)
        if any(part is not None and _PART.fullmatch(part) is None for part in parts):
            raise SelectionError(f"{text!r} is not a platform: expected os/architecture[/variant]")
        return cls(os, _or_any(version), architecture, _or_any(variant))

    def matches(self, platform: dict[str, Any]) -> bool:
        """Return whether a platform matches, as in an index (image specification, "platform") or in a config blob."""
        return (
            self.os in (ANY, platform.get("os"))
            and (self.os_version is None or self.os_version == platform.get("os.version"))
            and self.architecture in (ANY, platform.get("architecture"))
            and (self.variant is None or self.variant == _variant(platform))
        )

    def __str__(self) -> str:
        version = f":{self.os_version}" if self.os_version else ""
        variant = f"/{self.variant}" if self.variant else ""
        return f"{self.os}{version}/{self.architecture}{variant}"


def _or_any(part: str | None) -> str | None:
    return None if part in (None, "", ANY) else part


def _variant(platform: dict[str, Any]) -> str | None:
    """Return an entry's variant; without one, ARM has the variant that containerd assumes."""
    variant: str | None = platform.get("variant")
    return variant or {"arm64": "v8", "arm": "v7"}.get(str(platform.get("architecture")))


def split_architecture(text: str) -> tuple[str, str | None]:
    """Split ``arm64:v8`` or ``arm64/v8`` into architecture and variant."""
    architecture, separator, variant = text.replace(":", "/", 1).partition("/")
    return architecture, (variant if separator else None)


@dataclass(frozen=True, slots=True)
class PlatformFilter:
    """The platforms that are copied; an empty filter passes all."""

    platforms: tuple[Platform, ...] = ()

    @classmethod
    def of(cls, systems: Iterable[str], architectures: Iterable[str]) -> PlatformFilter:
        """Combine every ``os[:version]`` with every ``arch[:variant]``; an empty list matches any.

        Raises ``SelectionError``.
        """
        oses, arches = list(systems), list(architectures)
        if not oses and not arches:
            return cls()
        return cls(tuple(Platform.parse(f"{os}/{arch}") for os in oses or [ANY] for arch in arches or [ANY]))

    @classmethod
    def parse(cls, platforms: Iterable[str]) -> PlatformFilter:
        """Parse a list of ``os/architecture[/variant]``. Raises ``SelectionError``."""
        return cls(tuple(Platform.parse(text) for text in platforms))

    def __bool__(self) -> bool:
        return bool(self.platforms)

    def takes(self, platform: dict[str, Any] | None) -> bool:
        """Return whether an entry of an index passes; one without a platform always does."""
        return not self.platforms or platform is None or any(each.matches(platform) for each in self.platforms)
