"""The keys of ``auth`` and ``registries``: registries, or namespaces in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imageferry.config.document import Document, KeyPath, type_name
from imageferry.errors import InvalidReference


def keyed_entries(
    document: Document, path: KeyPath, naming: Callable[[str], str], holding: str
) -> Iterator[tuple[KeyPath, str]]:
    """Give the path and the name of each entry of the mapping at ``path``; an empty name where the key has none.

    ``naming`` gives the normal name of a key, or raises ``ReferenceError``. Reports keys without a name, keys that mean
    the same, and what is no mapping of registries to what they are ``holding``.
    """
    entries = document.at(path)
    if not isinstance(entries, dict):
        document.report(path, f"is {type_name(entries)}: expected a mapping of registries to {holding}")
        return
    written: dict[str, str] = {}
    for key in entries:
        inner = (*path, key)
        try:
            name = naming(key)
        except InvalidReference as error:
            document.report(inner, str(error), at_key=True)
            name = ""
        if name and name in written:
            first = document.key_mark((*path, written[name]))
            same = f"names the same as {written[name]!r} on line {first.line}: both mean {name}"
            document.report(inner, same, at_key=True)
        written.setdefault(name, key)
        yield inner, name
