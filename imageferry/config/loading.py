"""From the files that a person names to one checked configuration."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imageferry.config.access import read_access
from imageferry.config.defaults import Defaults, read_defaults
from imageferry.config.diagnostics import ConfigurationError, Diagnostic
from imageferry.config.document import Document, KeyPath
from imageferry.config.registries import read_registries
from imageferry.config.rules import read_rules
from imageferry.config.schema import FileSchema, validate
from imageferry.config.text.read import SIZE_LIMIT, read_document
from imageferry.credentials.named import StoredCredentials, no_credentials
from imageferry.model import Configuration, RegistryAccess, RegistrySettings, Rule

# What is read where no file is named.
DEFAULT_NAMES = ("config.json", "config.yaml", "config.yml")


@dataclass(frozen=True, slots=True)
class Files:
    """The files a person named: ``config`` alone, or ``images`` with or without ``auth``."""

    config: Path | None = None
    auth: Path | None = None
    images: Path | None = None


def find_files(config: Path | None, auth: Path | None, images: Path | None, folder: Path) -> Files:
    """Give the files to read: those named, else ``config.json``, ``.yaml`` or ``.yml`` in ``folder``.

    Raises ``ConfigurationError`` when there is none, or when the flags exclude one another.
    """
    if config is not None and (auth is not None or images is not None):
        raise _usage("--config", "excludes --auth and --images: give one file with both, or the two files")
    if auth is not None and images is None:
        raise _usage("--auth", "has no rules with it: give --images FILE too")
    if config is not None or images is not None:
        return Files(config, auth, images)
    for name in DEFAULT_NAMES:
        if (folder / name).exists():
            return Files(config=folder / name)
    first, *others = DEFAULT_NAMES
    raise _usage(
        str(folder / first),
        f"does not exist, nor does {' or '.join(others)}: give --config FILE, or --images FILE",
    )


def load(
    files: Files,
    *,
    registry: str | None = None,
    namespace: str | None = None,
    environment: Mapping[str, str] = os.environ,
    credentials: StoredCredentials = no_credentials,
) -> Configuration:
    """Read and check the files; ``registry`` and ``namespace`` are the flags and win over all else.

    ``credentials`` gives those that an entry of ``auth`` names. Raises ``ConfigurationError`` with every fault of
    every file.
    """
    loader = _Loader(registry, namespace, environment, credentials)
    if files.config is not None:
        loader.read(files.config, loader.add_file)
    elif files.images is not None:
        if files.auth is not None:
            loader.read(files.auth, loader.add_auth)
        loader.read(files.images, loader.add_images)
    else:
        raise _usage("--config", "is missing: expected --config FILE, or --images FILE and --auth FILE")
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
    """Read and check a configuration that is no file, such as a stored one; ``name`` stands in its faults.

    Files that it names are looked for from ``folder``, unless the environment is ``ELSEWHERE``. Raises
    ``ConfigurationError`` as ``load`` does.
    """
    loader = _Loader(registry, namespace, environment, credentials)
    loader.add(lambda: read_document(text, name), folder, loader.add_file)
    return loader.configuration()


def _usage(flag: str, problem: str) -> ConfigurationError:
    return ConfigurationError([Diagnostic(flag, 0, 0, "", problem)])


@dataclass
class _Loader:
    """Gathers what each file gives, and the faults of all of them."""

    registry: str | None
    namespace: str | None
    environment: Mapping[str, str] = field(repr=False)
    credentials: StoredCredentials
    access: dict[str, RegistryAccess] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    registries: dict[str, RegistrySettings] = field(default_factory=dict)
    faults: list[Diagnostic] = field(default_factory=list)
    _registries_of: str = ""

    def configuration(self) -> Configuration:
        """Give the configuration, or raise all faults."""
        if self.faults:
            raise ConfigurationError(self.faults)
        return Configuration(self.access, self.rules, self.registries)

    def read(self, path: Path, then: Callable[[Document, Path], None]) -> None:
        """Read a file and hand it on."""
        self.add(lambda: read_document(_bytes(path), str(path)), path.parent, then)

    def add(self, document: Callable[[], Document], folder: Path, then: Callable[[Document, Path], None]) -> None:
        """Hand a document on, unless it cannot be read, and take its faults."""
        try:
            with _gc_paused():
                found = document()
                if not found.broken:
                    then(found, folder)
        except ConfigurationError as error:
            self.faults += error.faults
        else:
            self.faults += found.faults

    def add_file(self, document: Document, folder: Path) -> None:
        """Take what a file with ``auth``, ``registries``, ``defaults`` and ``images`` holds."""
        validate(document, (), FileSchema)
        if not isinstance(document.value, dict):
            return
        if "auth" in document.value:
            self.access = read_access(document, ("auth",), self.environment, folder, self.credentials)
        self._registries(document)
        defaults = self._defaults(document)
        if "images" in document.value:
            self.rules = read_rules(document, ("images",), defaults, self.environment)
        else:
            document.report((), "'images' is missing: expected the rules, such as images: {quay.io/a/b: quay.io/c/d}")

    def add_auth(self, document: Document, folder: Path) -> None:
        """Take the entries of an ``--auth`` file: a mapping of registries, or ``auth`` with it (and ``registries``)."""
        keys = document.value if isinstance(document.value, dict) else {}
        wrapped = "auth" in keys or "registries" in keys
        if wrapped:
            self._refuse_others(document, ("auth", "registries"), "--images" if "images" in keys else "")
            self._registries(document)
        if not wrapped or "auth" in keys:
            path: KeyPath = ("auth",) if wrapped else ()
            self.access = read_access(document, path, self.environment, folder, self.credentials)

    def add_images(self, document: Document, _folder: Path) -> None:
        """Take the rules of an ``--images`` file: they alone, or ``images`` (and ``defaults``, ``registries``)."""
        path: KeyPath = ("images",) if _is_wrapped(document.value) else ()
        if path:
            known = ("images", "defaults", "registries")
            self._refuse_others(document, known, "--auth" if "auth" in document.value else "")
            self._registries(document)
        defaults = self._defaults(document if path else Document(document.name))
        self.rules = read_rules(document, path, defaults, self.environment)

    def _registries(self, document: Document) -> None:
        """Take the settings of registries where the file has them; only one of two files may."""
        if not isinstance(document.value, dict) or "registries" not in document.value:
            return
        if self._registries_of:
            problem = f"stands in {self._registries_of} too: give it in one of the two files"
            document.report(("registries",), problem, at_key=True)
        self._registries_of = document.name
        self.registries = read_registries(document, ("registries",))

    def _refuse_others(self, document: Document, known: tuple[str, ...], flag: str) -> None:
        for key in document.value:
            if key not in known:
                belongs = f"it belongs into the file of {flag}" if flag else f"known here: {', '.join(known)}"
                document.report((key,), f"unknown key {key!r}; {belongs}", at_key=True)

    def _defaults(self, document: Document) -> Defaults:
        defaults, faults = read_defaults(document, self.registry, self.namespace, self.environment)
        self.faults += faults
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


def _is_wrapped(value: Any) -> bool:
    """Whether ``images`` is the key of the rules, and not a repository of that name."""
    if not isinstance(value, dict) or "images" not in value:
        return False
    rules = value["images"]
    return not isinstance(rules, str) and not (isinstance(rules, list) and rules and _all_text(rules))


def _all_text(values: list[Any]) -> bool:
    """Whether these are destinations and not rules."""
    return all(isinstance(each, str) for each in values)


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise ConfigurationError([Diagnostic(str(path), 0, 0, "", _why(error))]) from None
    except ValueError:
        raise ConfigurationError([Diagnostic(str(path), 0, 0, "", "is not a path")]) from None
    if len(data) > SIZE_LIMIT:
        problem = f"is larger than {SIZE_LIMIT >> 20} MiB: expected a configuration"
        raise ConfigurationError([Diagnostic(str(path), 0, 0, "", problem)])
    return data


def _why(error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return "does not exist: expected a JSON or YAML file"
        case IsADirectoryError():
            return "is a directory: expected a JSON or YAML file"
        case PermissionError():
            return "cannot be read: no permission"
        case _:
            return f"cannot be read: {error.strerror or type(error).__name__}"
