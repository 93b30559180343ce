"""The names of flow runs: what is copied, in place of the two random words that Prefect takes."""

from __future__ import annotations

import functools
from pathlib import PurePath

from coolname.data import config as _lexicon

# Characters of a name that a list of runs shows.
LONGEST = 60


def name_run(current: str, config: str, *, dry_run: bool) -> str:
    """Return the name of a run of a configuration; ``current`` where a person or a program has chosen it."""
    if not is_random(current):
        return current
    shown = config if len(config) <= LONGEST else f"…/{PurePath(config).name}"[:LONGEST]
    return f"{shown}, dry run" if dry_run else shown


def is_random(name: str) -> bool:
    """Whether Prefect made the name up: it is two words of its generator's."""
    first, hyphen, second = name.partition("-")
    return bool(hyphen) and {first, second} <= _words()


@functools.cache
def _words() -> frozenset[str]:
    lists = (each for each in _lexicon.values() if isinstance(each, dict))
    return frozenset(word for each in lists for word in (*each.get("words", ()), each.get("value")) if word)
