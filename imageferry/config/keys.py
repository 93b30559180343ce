"""The keys of ``auth`` and ``registries``: registries, or namespaces in them, as people and docker write them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from imageferry.config.document import Document, KeyPath, kind
from imageferry.errors import ReferenceError
from imageferry.reference import DOCKER_HUB, check_registry, check_repository

_SCHEME = re.compile(r"https?://", re.IGNORECASE)


def normal_key(text: str) -> str:
    """Give ``registry`` or ``registry/namespace`` for a key as people and docker write it.

    Takes ``quay.io``, ``quay.io/team/``, ``https://index.docker.io/v1/``; raises ``ReferenceError``.
    """
    rest = _SCHEME.sub("", text.strip(), count=1)
    host, _, namespace = rest.rstrip("/").partition("/")
    if not host:
        raise ReferenceError("the registry is missing: expected registry or registry/namespace, such as quay.io/team")
    if "@" in host:
        raise ReferenceError("a registry has no user name in it: use the keys username and password")
    registry = check_registry(host)
    if not has_host_form(registry):
        raise ReferenceError(
            f"{host!r} is not a registry's host: it has no . and no port ({DOCKER_HUB}/{host}?)",
        )
    # "/v1/" is the API of the old registry, which docker login writes after the host.
    if not namespace or (namespace in ("v1", "v2") and (rest != text.strip() or registry == DOCKER_HUB)):
        return registry
    return f"{registry}/{check_repository(namespace)}"


def has_host_form(registry: str) -> bool:
    """Whether a reference that begins with this reads it as a registry."""
    return "." in registry or ":" in registry or registry == "localhost"


def keyed_entries(
    document: Document, path: KeyPath, naming: Callable[[str], str], holding: str
) -> Iterator[tuple[KeyPath, str]]:
    """Give the path and the name of each entry of the mapping at ``path``; an empty name where the key has none.

    ``naming`` gives the normal name of a key, or raises ``ReferenceError``. Reports keys without a name, keys that mean
    the same, and what is no mapping of registries to what they are ``holding``.
    """
    entries = document.at(path)
    if not isinstance(entries, dict):
        document.report(path, f"is {kind(entries)}: expected a mapping of registries to {holding}")
        return
    written: dict[str, str] = {}
    for key in entries:
        inner = (*path, key)
        try:
            name = naming(key)
        except ReferenceError as error:
            document.report(inner, str(error), at_key=True)
            name = ""
        if name and name in written:
            first = document.key_mark((*path, written[name]))
            same = f"names the same as {written[name]!r} on line {first.line}: both mean {name}"
            document.report(inner, same, at_key=True)
        written.setdefault(name, key)
        yield inner, name
