"""From the files of a configuration to one checked ``Configuration``."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec

from imageferry.config.access import read_access
from imageferry.config.defaults import Defaults, read_defaults
from imageferry.config.diagnostics import ConfigurationError, Diagnostic
from imageferry.config.document import Document, KeyPath
from imageferry.config.files import Files
from imageferry.config.registries import read_registries
from imageferry.config.rules import read_rules
from imageferry.config.schema import FileSchema, validate
from imageferry.config.text.read import ReadBytes, read_bytes, read_document, read_file
from imageferry.credentials.named import StoredCredentials, no_credentials
from imageferry.model import Configuration, RegistryAccess, RegistrySettings, Rule
from imageferry.registry_key import has_host_form

P = ParamSpec("P")


def load(
    files: Files,
    *,
    registry: str | None = None,
    namespace: str | None = None,
    environment: Mapping[str, str] = os.environ,
    credentials: StoredCredentials = no_credentials,
    read: ReadBytes = read_bytes,
) -> Configuration:
    """Read and check the files; ``registry`` and ``namespace`` are the flags, which take precedence.

    ``credentials`` returns those that an entry of ``auth`` names; ``read`` returns a file's content. Raises
    ``ConfigurationError`` with every error of every file.
    """
    loader = _Loader(registry, namespace, environment, credentials)
    with _gc_paused():
        if files.config is not None:
            if document := loader.read(read_file, files.config, read):
                loader.add_file(document, files.config.parent)
        elif files.images is not None:
            if files.auth is not None and (document := loader.read(read_file, files.auth, read)):
                loader.add_auth(document, files.auth.parent)
            if document := loader.read(read_file, files.images, read):
                loader.add_images(document)
        else:
            raise ConfigurationError.of(
                "--config", "is missing: expected --config FILE, or --images FILE and --auth FILE"
            )
    return loader.configuration()


def load_text(
    text: str,
    name: str,
    *,
    folder: Path = Path(),
    registry: str | None = None,
    namespace: str | None = None,
    environment: Mapping[str, str] = os.environ,
    credentials: StoredCredentials = no_credentials,
) -> Configuration:
    """Read and check a configuration that is no file, such as a stored one; ``name`` takes the file's place in errors.

    Relative paths in it start at ``folder``; files are not looked for if the environment is ``UNKNOWN_ENVIRONMENT``.
    Raises ``ConfigurationError`` as ``load`` does.
    """
    loader = _Loader(registry, namespace, environment, credentials)
    with _gc_paused():
        if document := loader.read(read_document, text, name):
            loader.add_file(document, folder)
    return loader.configuration()


@dataclass
class _Loader:
    """Collects what each document holds, and the errors of all of them."""

    registry: str | None
    namespace: str | None
    environment: Mapping[str, str] = field(repr=False)
    credentials: StoredCredentials
    access: dict[str, RegistryAccess] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    registries: dict[str, RegistrySettings] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    _documents: list[Document] = field(default_factory=list, repr=False)
    _registries_of: str = ""

    def configuration(self) -> Configuration:
        """Return the configuration, or raise ``ConfigurationError`` with all errors."""
        diagnostics = [*self.diagnostics, *(each for document in self._documents for each in document.diagnostics)]
        if diagnostics:
            raise ConfigurationError(diagnostics)
        return Configuration(self.access, self.rules, self.registries)

    def read(self, reader: Callable[P, Document], *args: P.args, **kwargs: P.kwargs) -> Document | None:
        """Read a document and keep its errors; return None if it makes no sense to check what it holds."""
        try:
            document = reader(*args, **kwargs)
        except ConfigurationError as error:
            self.diagnostics += error.diagnostics
            return None
        self._documents.append(document)
        return None if document.broken else document

    def add_file(self, document: Document, folder: Path) -> None:
        """Add the content of a file with ``auth``, ``registries``, ``defaults`` and ``images``."""
        _drop_extensions(document, lambda key, value: True)
        validate(document, (), FileSchema)
        if not isinstance(document.value, dict):
            return
        if document.value.get("auth") is not None:
            self.access = read_access(document, ("auth",), self.environment, folder, self.credentials)
        self._add_registries(document)
        defaults = self._read_defaults(document)
        if "images" in document.value:
            self.rules = read_rules(document, ("images",), defaults, self.environment)
        else:
            document.report((), "'images' is missing: expected the rules, such as images: {quay.io/a/b: quay.io/c/d}")

    def add_auth(self, document: Document, folder: Path) -> None:
        """Add the entries of an ``--auth`` file: a mapping of registries, or ``auth`` with it (and ``registries``)."""
        keys = document.value if isinstance(document.value, dict) else {}
        wrapped = "auth" in keys or "registries" in keys
        _drop_extensions(document, lambda key, value: wrapped or not has_host_form(key))
        if wrapped:
            _refuse_unknown_keys(document, ("auth", "registries"), "--images" if "images" in keys else "")
            self._add_registries(document)
        if not wrapped or keys.get("auth") is not None:
            path: KeyPath = ("auth",) if wrapped else ()
            self.access = read_access(document, path, self.environment, folder, self.credentials)

    def add_images(self, document: Document) -> None:
        """Add the rules of an ``--images`` file: they alone, or ``images`` (and ``defaults``, ``registries``)."""
        path: KeyPath = ("images",) if _is_wrapped(document.value) else ()
        _drop_extensions(document, lambda key, value: bool(path) or isinstance(value, dict))
        if path:
            known = ("images", "defaults", "registries")
            _refuse_unknown_keys(document, known, "--auth" if "auth" in document.value else "")
            self._add_registries(document)
        defaults = self._read_defaults(document if path else Document(document.name))
        self.rules = read_rules(document, path, defaults, self.environment)

    def _add_registries(self, document: Document) -> None:
        """Add the settings of registries if the file has them; only one of two files may."""
        if not isinstance(document.value, dict) or document.value.get("registries") is None:
            return
        if self._registries_of:
            problem = f"stands in {self._registries_of} too: give it in one of the two files"
            document.report(("registries",), problem, at_key=True)
        self._registries_of = document.name
        self.registries = read_registries(document, ("registries",))

    def _read_defaults(self, document: Document) -> Defaults:
        defaults, diagnostics = read_defaults(document, self.registry, self.namespace, self.environment)
        self.diagnostics += diagnostics
        return defaults


@contextlib.contextmanager
def _gc_paused() -> Iterator[None]:
    """Pause the garbage collector: going over 100,000 nodes again and again took a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _drop_extensions(document: Document, is_extension: Callable[[str, Any], bool]) -> None:
    """Leave out the keys of the whole file that begin with ``x-``: they hold anchors, as in compose files."""
    if isinstance(document.value, dict):
        document.value = {
            key: value
            for key, value in document.value.items()
            if not (key.startswith("x-") and is_extension(key, value))
        }


def _refuse_unknown_keys(document: Document, known: tuple[str, ...], flag: str) -> None:
    """Report the keys that do not belong into this file; ``flag`` names the file into which they may belong."""
    for key in document.value:
        if key not in known:
            belongs = f"it belongs into the file of {flag}" if flag else f"known here: {', '.join(known)}"
            document.report((key,), f"unknown key {key!r}; {belongs}", at_key=True)


def _is_wrapped(value: Any) -> bool:
    """Return whether ``images`` is the key of the rules, and not a repository of that name."""
    if not isinstance(value, dict) or "images" not in value:
        return False
    rules = value["images"]
    return not isinstance(rules, str) and not (isinstance(rules, list) and rules and _are_destinations(rules))


def _are_destinations(values: list[Any]) -> bool:
    """Return whether the items of a list are destinations, which are text, and not rules."""
    return all(isinstance(each, str) for each in values)
