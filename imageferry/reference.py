"""The grammar of image references (distribution specification, "Pulling manifests"; Docker's short names)."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from dataclasses import dataclass, replace

from imageferry.errors import InvalidReference
from imageferry.text import shorten_repr

DOCKER_HUB = "docker.io"

# The names of Docker Hub in configurations and in docker's config.json.
DOCKER_HUB_NAMES = frozenset(
    {"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"},
)

_HOST = re.compile(
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?",
)
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_NAME_LENGTH = 255


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A repository of a registry, optionally with a tag, a digest or both.

    ``registry`` is a host with an optional port; Docker Hub is always ``docker.io``.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse ``[host[:port]/]repository[:tag][@digest]``; ``nginx`` is ``docker.io/library/nginx``.

        Raises ``InvalidReference`` that names the invalid part.
        """
        rest, at, digest = text.partition("@")
        if at:
            check_digest(digest)
        head, slash, last = rest.rpartition("/")
        last, colon, tag = last.partition(":")
        if colon:
            check_tag(tag)
        registry, repository = split_repository(head + slash + last)
        return cls(registry, repository, tag if colon else None, digest if at else None)

    @property
    def name(self) -> str:
        """``host/repository``, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def target(self) -> str:
        """What a manifest is requested by: the digest if there is one, else the tag. Raises ``InvalidReference``."""
        wanted = self.digest or self.tag
        if wanted is None:
            raise InvalidReference(f"{self.name} names no tag and no digest")
        return wanted

    def at(self, target: str) -> Reference:
        """Return the same repository at a tag or a digest (a digest has a colon, a tag never)."""
        if ":" in target:
            return replace(self, tag=None, digest=target)
        return replace(self, tag=target, digest=None)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def split_repository(text: str) -> tuple[str, str]:
    """Split ``[host[:port]/]repository`` into registry and repository, both checked. Raises ``InvalidReference``.

    The first part is a registry if it has a ``.`` or a ``:`` or is ``localhost`` (Docker's rule).
    """
    first, slash, rest = text.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, rest = DOCKER_HUB, text
    registry = check_registry(first)
    if registry == DOCKER_HUB and rest and "/" not in rest:
        rest = f"library/{rest}"
    return registry, check_repository(rest)


def check_registry(host: str) -> str:
    """Return a registry's normal name: lower case, ``docker.io`` for Docker Hub. Raises ``InvalidReference``."""
    found = _HOST.fullmatch(host)
    if found is None or not 0 < int(found["port"] or 1) < 65536 or not _is_host(found["host"]):
        hint = _hint(host)
        raise InvalidReference(
            f"{shorten_repr(host)} is not a registry{hint}: expected host or host:port, such as quay.io"
        )
    host = host.lower()
    return DOCKER_HUB if host in DOCKER_HUB_NAMES else host


def _is_host(host: str) -> bool:
    """Return whether a host is a valid name (RFC 1035, 2.3.4: labels of 63 at most) or IPv6 address in brackets."""
    if not host.startswith("["):
        return len(host) <= 253 and all(0 < len(label) < 64 for label in host.split("."))
    with contextlib.suppress(ValueError):
        return bool(ipaddress.IPv6Address(host[1:-1]))
    return False


def check_repository(name: str) -> str:
    """Return the name if it is valid (distribution specification, "Pulling manifests"); raises ``InvalidReference``."""
    if not name:
        raise InvalidReference("the repository is missing: expected registry/namespace/repository")
    if _REPOSITORY.fullmatch(name) is None or len(name) > _NAME_LENGTH:
        hint = _hint(name) or (" (upper case is not allowed)" if name != name.lower() else "")
        raise InvalidReference(
            f"{shorten_repr(name)} is not a repository{hint}: expected parts of a-z, 0-9 and . _ - between slashes, "
            f"{_NAME_LENGTH} characters at most",
        )
    return name


def check_tag(tag: str) -> str:
    """Return the tag if it is valid (distribution specification, "Pulling manifests"); raises ``InvalidReference``."""
    if _TAG.fullmatch(tag) is None:
        raise InvalidReference(
            f"{shorten_repr(tag)} is not a tag{_hint(tag)}: expected A-Z, a-z, 0-9 and _ . -, 128 of them at most"
        )
    return tag


def _hint(text: str) -> str:
    return " (environment variables are not replaced here)" if "$" in text else ""


def check_digest(digest: str) -> str:
    """Return the digest if it is valid: sha256 or sha512 (image specification, "Digests").

    Raises ``InvalidReference``.
    """
    algorithm, _, encoded = digest.partition(":")
    length = {"sha256": 64, "sha512": 128}.get(algorithm)
    if length is None:
        raise InvalidReference(f"{shorten_repr(digest)} is not a digest: expected sha256: or sha512: before its digits")
    if re.fullmatch(rf"[0-9a-f]{{{length}}}", encoded) is None:
        raise InvalidReference(f"{shorten_repr(digest)} is not a digest: expected {algorithm}: and {length} of 0-9 a-f")
    return digest
