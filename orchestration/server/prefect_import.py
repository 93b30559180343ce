"""Importing prefect, which reads the user's settings: what it refuses of them is said in words."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from orchestration.server.own_server import SetupError


@contextlib.contextmanager
def prefect_settings_checked() -> Iterator[None]:
    """Have an import of prefect within the context raise ``SetupError`` for settings that it refuses."""
    try:
        yield
    except ValidationError as error:
        # Not what was given: it may be a secret.
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise SetupError(f"Prefect refuses a setting: {_describe(error.title, found[0])}") from None


def _describe(model: str, problem: object) -> str:
    assert isinstance(problem, dict)
    where = "_".join(str(part) for part in problem["loc"]).upper()
    if not where.startswith("PREFECT_"):
        where = _prefix(model) + where
    return f"{where}: {problem['msg']}"


def _prefix(model: str) -> str:
    """Return how the names of a model of Prefect's settings begin in the environment."""
    base = getattr(sys.modules.get("prefect.settings.base"), "PrefectBaseSettings", None)
    known = [each for each in _below(base) if each.__name__ == model] if base else []
    return str(known[0].model_config.get("env_prefix", "")) if known else f"{model}: "


def _below(model: Any) -> Iterator[Any]:
    for each in model.__subclasses__():
        yield each
        yield from _below(each)
