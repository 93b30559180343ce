"""Environment variables in a configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from imageferry.errors import ImageferryError

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_BARE = re.compile(rf"\$({_NAME})")
_BRACED = re.compile(rf"\$\{{({_NAME})\}}")
_EITHER = re.compile(rf"\$(?:\{{(?P<braced>{_NAME})\}}|(?P<bare>{_NAME}))")
# Braces around more than a name: a shell's ${NAME:-default}, an expression of GitHub Actions.
_OTHER_FORM = re.compile(rf"\$\{{(?!{_NAME}\}})[^}}]+\}}")


# The environment of another machine, unknown here: for a configuration that is checked in order to be stored.
UNKNOWN_ENVIRONMENT: Mapping[str, str] = MappingProxyType({})


class VariableError(ImageferryError):
    """A variable is not set. Names it, and never shows a value."""


def expand_value(text: str, environment: Mapping[str, str]) -> str:
    """Return a value of ``auth`` with every ``${NAME}`` replaced, and a ``$NAME`` that is the whole of it.

    A ``$`` elsewhere is a plain character. Returns an empty text where a variable is one of the
    ``UNKNOWN_ENVIRONMENT``. Raises ``VariableError`` for variables that are unset, for a value that is empty once they
    are replaced, and for braces around anything but a name.
    """
    refuse_other_forms(text)
    bare = _BARE.fullmatch(text)
    names = [bare[1]] if bare else _BRACED.findall(text)
    if not names:
        return text
    if environment is UNKNOWN_ENVIRONMENT:
        return ""
    if bare and bare[1] != bare[1].upper() and bare[1] not in environment:
        # It may be a password that begins with $: its name is not shown.
        raise VariableError(
            "the environment variable is not set: a value that itself begins with $ must come from a variable"
        )
    _refuse_unset(names, environment)
    pattern = _BARE if bare else _BRACED
    found = pattern.sub(lambda variable: read_variable(variable[1], environment), text)
    if not found:
        shown = f" {names[0]}" if not bare or names[0] == names[0].upper() else ""
        raise VariableError(f"the environment variable{shown} is set to nothing")
    return found


def has_variables(text: str) -> bool:
    """Return whether there is a ``${NAME}`` or a ``$NAME`` in the text of a destination."""
    return _EITHER.search(text) is not None


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Return the text with every ``${NAME}`` and ``$NAME`` replaced, as image-syncer does at a destination.

    Raises ``VariableError`` with all that are not set.
    """
    _refuse_unset((found["braced"] or found["bare"] for found in _EITHER.finditer(text)), environment)
    return _EITHER.sub(lambda found: read_variable(found["braced"] or found["bare"], environment), text)


def refuse_other_forms(text: str) -> None:
    """Raise ``VariableError`` for ``${NAME:-default}``, ``${{ secrets.NAME }}`` and such; shows nothing of the text."""
    if _OTHER_FORM.search(text) is None:
        return
    if "${{" in text:
        raise VariableError(
            "has an expression ${{ … }}, which only GitHub Actions replaces, in its own files: write ${NAME} here, "
            "and set NAME in the step's env"
        )
    raise VariableError("has more than a name in ${…}: expected ${NAME}, without a default or an operator")


def read_variable(name: str, environment: Mapping[str, str]) -> str:
    """Return a variable's value without the line break at its end, as ``docker login --password-stdin`` reads one.

    Files and secret stores leave it there. An empty text for a variable that is not set.
    """
    return environment.get(name, "").removesuffix("\n").removesuffix("\r")


def _refuse_unset(names: Iterable[str], environment: Mapping[str, str]) -> None:
    missing = sorted({name for name in names if name not in environment})
    if missing:
        verb = "variable {} is" if len(missing) == 1 else "variables {} are"
        raise VariableError(f"the environment {verb.format(', '.join(missing))} not set")
