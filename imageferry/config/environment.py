"""Environment variables in a configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from imageferry.errors import ImageferryError

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_WHOLE = re.compile(rf"\$(?:\{{(?P<braced>{_NAME})\}}|(?P<bare>{_NAME}))")
_BRACED = re.compile(rf"\$\{{({_NAME})\}}")


# The environment of another machine, unknown here: for a configuration that is checked in order to be stored.
UNKNOWN_ENVIRONMENT: Mapping[str, str] = MappingProxyType({})


class VariableError(ImageferryError):
    """A variable is not set. Names it, and never shows a value."""


def expand_whole(text: str, environment: Mapping[str, str]) -> str:
    """Return the variable's value if the whole text is ``$NAME`` or ``${NAME}``, else the text.

    Returns an empty text for a variable of the ``UNKNOWN_ENVIRONMENT``. Raises ``VariableError`` for one that is unset
    or empty.
    """
    found = _WHOLE.fullmatch(text)
    if found is None:
        return text
    if environment is UNKNOWN_ENVIRONMENT:
        return ""
    name = found["braced"] or found["bare"]
    # A bare name may be a password that begins with $: it is shown only if it looks like a variable's.
    shown = f" {name}" if found["braced"] or name == name.upper() else ""
    if name not in environment:
        hint = "" if shown else ": a value that itself begins with $ must come from a variable"
        raise VariableError(f"the environment variable{shown} is not set{hint}")
    if not environment[name]:
        raise VariableError(f"the environment variable{shown} is set to nothing")
    return environment[name]


def has_variables(text: str) -> bool:
    """Return whether there is a ``${NAME}`` in the text."""
    return _BRACED.search(text) is not None


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Return the text with every ``${NAME}`` replaced; raises ``VariableError`` with all that are not set."""
    missing = sorted({name for name in _BRACED.findall(text) if name not in environment})
    if missing:
        verb = "variable {} is" if len(missing) == 1 else "variables {} are"
        raise VariableError(f"the environment {verb.format(', '.join(missing))} not set")
    return _BRACED.sub(lambda found: environment[found[1]], text)
