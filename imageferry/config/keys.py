"""The keys of ``auth`` and ``registries``: registries, or namespaces in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imageferry.config.document import Document, KeyPath, type_name
from imageferry.errors import InvalidReference


def read_keys(
    document: Document, path: KeyPath, normalize: Callable[[str], str], content: str
) -> Iterator[tuple[KeyPath, str]]:
    """Yield the path and the normal key of each entry of the mapping at ``path``; an empty text for an invalid key.

    ``normalize`` returns the normal form of a key, or raises ``InvalidReference``. Reports invalid keys, keys with the
    same normal form and different entries, and a value that is no mapping of registries to ``content``.
    """
    entries = document.at(path)
    if not isinstance(entries, dict):
        document.report(path, f"is {type_name(entries)}: expected a mapping of registries to {content}")
        return
    written: dict[str, str] = {}
    for key in entries:
        inner = (*path, key)
        try:
            name = normalize(key)
        except InvalidReference as error:
            document.report(inner, str(error), at_key=True)
            name = ""
        if name and name in written and entries[key] != entries[written[name]]:
            first = document.key_position((*path, written[name]))
            same = f"names the same as {written[name]!r} on line {first.line}: both mean {name}, and they differ"
            document.report(inner, same, at_key=True)
        written.setdefault(name, key)
        yield inner, name
