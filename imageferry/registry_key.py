"""Keys of registries, and of namespaces in them: how they are written, and how a repository is looked up by them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from imageferry.errors import InvalidReference
from imageferry.reference import DOCKER_HUB, check_registry, check_repository

# The private registry of an AWS account in one region, which makes no repository on push.
ECR_HOST = re.compile(r"[0-9]{12}\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")

_SCHEME = re.compile(r"https?://", re.IGNORECASE)


def normalize_key(text: str) -> str:
    """Return ``registry`` or ``registry/namespace`` for a key as people and docker write it.

    Accepts ``quay.io``, ``quay.io/team/``, ``https://index.docker.io/v1/``. Raises ``InvalidReference``.
    """
    rest = _SCHEME.sub("", text.strip(), count=1)
    host, _, namespace = rest.rstrip("/").partition("/")
    if not host:
        raise InvalidReference("the registry is missing: expected registry or registry/namespace, such as quay.io/team")
    if "@" in host:
        raise InvalidReference("a registry has no user name in it: use the keys username and password")
    registry = check_registry(host)
    if not has_host_form(registry):
        raise InvalidReference(
            f"{host!r} is not a registry's host: it has no . and no port ({DOCKER_HUB}/{host}?)",
        )
    # "/v1/" is the API of the old registry, which docker login writes after the host.
    if not namespace or (namespace in ("v1", "v2") and (rest != text.strip() or registry == DOCKER_HUB)):
        return registry
    return f"{registry}/{check_repository(namespace)}"


def lookup_keys(name: str) -> Iterator[str]:
    """Yield the keys that apply to ``registry/repository``, the longest first.

    For ``host/a/b``: ``host/a/b``, ``host/a``, ``host`` (containers-auth.json(5), "Format").
    """
    while name:
        yield name
        name = name.rpartition("/")[0]


def has_host_form(registry: str) -> bool:
    """Return whether a reference that begins with this name is read as beginning with a registry."""
    return "." in registry or ":" in registry or registry == "localhost"
