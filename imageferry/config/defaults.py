"""The registry and the namespace of the rules whose destination is ``""``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from imageferry.config.diagnostics import Diagnostic
from imageferry.config.document import Document
from imageferry.config.environment import UNKNOWN_ENVIRONMENT
from imageferry.config.schema import DefaultsSchema, validate
from imageferry.errors import InvalidReference
from imageferry.reference import check_registry, check_repository
from imageferry.registry_key import has_host_form


@dataclass(frozen=True, slots=True)
class Defaults:
    """Where a rule goes whose destination is ``""``. ``unusable``: not known, or with a fault that is already told."""

    registry: str | None = None
    namespace: str | None = None
    unusable: bool = False


def read_defaults(
    document: Document,
    registry: str | None,
    namespace: str | None,
    environment: Mapping[str, str],
) -> tuple[Defaults, list[Diagnostic]]:
    """Settle both: flag over environment over the file's ``defaults``; what is empty is not given.

    Faults of the file are reported there, those of a flag or a variable are given.
    """
    shape: DefaultsSchema | None = DefaultsSchema()
    if isinstance(document.value, dict) and "defaults" in document.value:
        shape = validate(document, ("defaults",), DefaultsSchema)
    written = shape or DefaultsSchema()
    settling = _Settling(document, environment, [], bad=shape is None)
    host = settling.settle("registry", registry, written.registry, _registry)
    path = settling.settle("namespace", namespace, written.namespace, _namespace)
    # There they may come from the environment.
    unknown = host is None and environment is UNKNOWN_ENVIRONMENT
    return Defaults(host, path, settling.bad or unknown), settling.faults


@dataclass(slots=True)
class _Settling:
    """Checks the one value of each that counts, and tells a fault where that was given."""

    document: Document
    environment: Mapping[str, str] = field(repr=False)
    faults: list[Diagnostic]
    bad: bool

    def settle(self, key: str, flag: str | None, written: str | None, check: Callable[[str], str]) -> str | None:
        """Give the value, or None when there is none or it is wrong."""
        variable = f"DEFAULT_{key.upper()}"
        set_to = self.environment.get(variable)
        value = flag or set_to or written
        if not value:
            return None
        try:
            return check(value)
        except InvalidReference as error:
            problem = str(error)
        self.bad = True
        if flag:
            self.faults.append(Diagnostic(f"--{key}", 0, 0, "", problem))
        elif set_to:
            # The environment's values are never shown.
            such_as = "quay.io or x.example:5000" if key == "registry" else "team or team/mirror"
            self.faults.append(Diagnostic(f"${variable}", 0, 0, "", f"is not a {key}: expected such as {such_as}"))
        else:
            self.document.report(("defaults", key), problem)
        return None


def _registry(text: str) -> str:
    registry = check_registry(text)
    if not has_host_form(registry):
        raise InvalidReference(f"{text!r} is not a registry's host: expected host or host:port, such as quay.io")
    return registry


def _namespace(text: str) -> str:
    return check_repository(text.strip("/"))
