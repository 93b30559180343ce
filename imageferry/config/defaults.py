"""The default registry and namespace, for rules whose destination is ``""``, and the options of all rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from imageferry.config.diagnostics import Diagnostic
from imageferry.config.document import Document
from imageferry.config.environment import UNKNOWN_ENVIRONMENT, read_variable
from imageferry.config.rule_defaults import RuleDefaults, read_rule_defaults
from imageferry.config.schema import DefaultsSchema, validate
from imageferry.errors import InvalidReference
from imageferry.reference import check_registry, check_repository
from imageferry.registry_key import has_host_form


@dataclass(frozen=True, slots=True)
class Defaults:
    """The destination of rules that have ``""``. ``unusable``: unknown, or wrong in a way that is already reported.

    ``rules`` are the options of rules that do not say them.
    """

    registry: str | None = None
    namespace: str | None = None
    unusable: bool = False
    rules: RuleDefaults = field(default_factory=RuleDefaults)


def read_defaults(
    document: Document,
    registry: str | None,
    namespace: str | None,
    environment: Mapping[str, str],
) -> tuple[Defaults, list[Diagnostic]]:
    """Return both, each from its flag, else the environment, else the file's ``defaults``; an empty text is no value.

    Options of rules are those of the file.

    Errors in the file are reported to ``document``, those of a flag or a variable are returned.
    """
    entry: DefaultsSchema | None = DefaultsSchema()
    if isinstance(document.value, dict) and document.value.get("defaults") is not None:
        entry = validate(document, ("defaults",), DefaultsSchema)
    rules = RuleDefaults()
    if isinstance(document.value, dict) and _has_rules(document.value.get("defaults")):
        rules = read_rule_defaults(document, ("defaults", "rules"))
    written = entry or DefaultsSchema()
    resolver = _Resolver(document, environment, [], failed=entry is None)
    host = resolver.resolve("registry", registry, written.registry, _check_registry)
    path = resolver.resolve("namespace", namespace, written.namespace, _check_namespace)
    # Where the configuration is used they may come from the environment.
    unknown = host is None and environment is UNKNOWN_ENVIRONMENT
    return Defaults(host, path, resolver.failed or unknown, rules), resolver.diagnostics


@dataclass(slots=True)
class _Resolver:
    """Checks the one value that takes precedence, and reports an error of it where it was given."""

    document: Document
    environment: Mapping[str, str] = field(repr=False)
    diagnostics: list[Diagnostic]
    failed: bool

    def resolve(self, key: str, flag: str | None, written: str | None, check: Callable[[str], str]) -> str | None:
        """Return the checked value, or None if there is none or it is wrong."""
        variable = f"DEFAULT_{key.upper()}"
        variable_value = read_variable(variable, self.environment)
        value = flag or variable_value or written
        if not value:
            return None
        try:
            return check(value)
        except InvalidReference as error:
            problem = str(error)
        self.failed = True
        if flag:
            self.diagnostics.append(Diagnostic(f"--{key}", 0, 0, "", problem))
        elif variable_value:
            # Values of the environment are never shown.
            such_as = "quay.io or x.example:5000" if key == "registry" else "team or team/mirror"
            self.diagnostics.append(Diagnostic(f"${variable}", 0, 0, "", f"is not a {key}: expected such as {such_as}"))
        else:
            self.document.report(("defaults", key), problem)
        return None


def _has_rules(defaults: object) -> bool:
    return isinstance(defaults, dict) and "rules" in defaults


def _check_registry(text: str) -> str:
    registry = check_registry(text)
    if not has_host_form(registry):
        raise InvalidReference(f"{text!r} is not a registry's host: expected host or host:port, such as quay.io")
    return registry


def _check_namespace(text: str) -> str:
    return check_repository(text.strip("/"))
