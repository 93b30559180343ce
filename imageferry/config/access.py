"""The entries of ``auth``: how each registry, or namespace in one, is reached."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from imageferry.config.document import Document, KeyPath
from imageferry.config.environment import UNKNOWN_ENVIRONMENT, VariableError, expand_value
from imageferry.config.keys import read_keys
from imageferry.config.schema import AccessSchema, validate
from imageferry.credentials.named import CredentialsError, StoredCredentials
from imageferry.model import RegistryAccess
from imageferry.registry_key import normalize_key

_FILES = ("ca_file", "client_cert", "client_key")

# User names that are no variables: NVIDIA's and Quay's (quay, auth/credential_consts.py) for tokens.
_TOKEN_USERS = frozenset({"$oauthtoken", "$app", "$token"})


def read_access(
    document: Document,
    path: KeyPath,
    environment: Mapping[str, str],
    folder: Path,
    credentials: StoredCredentials,
) -> dict[str, RegistryAccess]:
    """Return the entries of the mapping at ``path`` by their normal keys; report the errors in them."""
    found: dict[str, RegistryAccess] = {}
    for inner, name in read_keys(document, path, normalize_key, "username, password and such"):
        if document.at(inner) is None:
            # Every line under it is a comment.
            found.setdefault(name, RegistryAccess())
            continue
        entry = validate(document, inner, AccessSchema)
        if entry is not None:
            access = _EntryReader(document, inner, entry, environment, folder, credentials=credentials).read()
            found.setdefault(name, access)
    return found


class _EntryReader:
    """Checks one entry."""

    def __init__(
        self,
        document: Document,
        path: KeyPath,
        entry: AccessSchema,
        environment: Mapping[str, str],
        folder: Path,
        *,
        credentials: StoredCredentials,
    ) -> None:
        self._document, self._path, self._entry = document, path, entry
        self._environment, self._folder, self._credentials = environment, folder, credentials

    def read(self) -> RegistryAccess:
        """Expand variables, find the files, and check what belongs together. Errors are reported, not raised."""
        self._check_pairs()
        own = RegistryAccess(
            username=self._secret("username"),
            password=self._secret("password"),
            identity_token=self._secret("identity_token"),
            insecure=self._entry.insecure,
            ca_file=self._file("ca_file"),
            client_cert=self._file("client_cert"),
            client_key=self._file("client_key"),
            proxy=self._proxy(),
        )
        if self._entry.credentials is None:
            return own
        # What the entry itself has takes precedence.
        written = {key: getattr(own, key) for key in self._entry.model_fields_set - {"credentials"}}
        stored = self._stored(self._entry.credentials)
        return stored.model_copy(update={key: value for key, value in written.items() if value is not None})

    def _stored(self, name: str) -> RegistryAccess:
        """Return the stored credentials, with the files that they name checked."""
        if not name:
            self._report("credentials", "is empty: expected the name of stored credentials, or leave the key out")
            return RegistryAccess()
        try:
            stored = self._credentials(name)
        except CredentialsError as error:
            self._report("credentials", str(error))
            return RegistryAccess()
        found: dict[str, Path] = {}
        for key in _FILES:
            path = getattr(stored, key)
            if path is not None:
                found[key] = self._folder / path.expanduser()
                if problem := _file_problem(found[key]):
                    self._report(
                        "credentials", f"{name!r} has {key} {str(path)!r}, which {problem}: expected a PEM file"
                    )
        if stored.proxy is not None and not _is_proxy(stored.proxy.get_secret_value()):
            self._report("credentials", f"{name!r} has a proxy that is no address: expected http://host:port")
        return stored.model_copy(update=found)

    def _written(self, key: str) -> str:
        # An empty text is how image-syncer's files say "none".
        return getattr(self._entry, key) or ""

    def _check_pairs(self) -> None:
        username, password, token = (self._written(key) for key in ("username", "password", "identity_token"))
        if token and (username or password):
            self._report("identity_token", "excludes username and password: give the one or the other")
        elif self._entry.credentials is not None and (username or password or token):
            what = "identity_token" if token else "username and password"
            self._report("credentials", f"excludes {what}: give the one or the other")
        elif username and not password:
            self._report("username", "has no password: give both, or neither for anonymous access")
        elif password and not username:
            self._report("password", "has no username: give both, or neither for anonymous access")
        if self._written("client_key") and not self._written("client_cert"):
            self._report("client_key", "has no client_cert: a key is of use only with its certificate")

    def _value(self, key: str) -> str:
        written = self._written(key)
        if key == "username" and written in _TOKEN_USERS:
            return written
        try:
            return expand_value(written, self._environment)
        except VariableError as error:
            self._report(key, str(error))
            return ""

    def _secret(self, key: str) -> SecretStr | None:
        value = self._value(key)
        return SecretStr(value) if value else None

    def _file(self, key: str) -> Path | None:
        written = getattr(self._entry, key)
        if written is None:
            return None
        if not written:
            self._report(key, "is empty: expected the path of a PEM file, or leave the key out")
        value = self._value(key)
        if not value:
            return None
        path = self._folder / Path(value).expanduser()
        problem = _file_problem(path)
        if problem and self._environment is not UNKNOWN_ENVIRONMENT:
            self._report(
                key,
                f"{written!r} {problem}: expected a PEM file (a relative path starts at this file's folder)",
            )
        return path

    def _proxy(self) -> SecretStr | None:
        if self._entry.proxy == "":
            self._report("proxy", "is empty: expected http://host:port, or leave the key out")
        value = self._value("proxy")
        if not value:
            return None
        if not _is_proxy(value):
            self._report(
                "proxy",
                "is not a proxy's address: expected http://host:port or http://user:password@host:port",
            )
        return SecretStr(value)

    def _report(self, key: str, problem: str) -> None:
        self._document.report((*self._path, key), problem)


def _is_proxy(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https", "socks5", "socks5h") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _file_problem(path: Path) -> str:
    """Return why a file cannot be read; empty if it can."""
    try:
        if path.is_dir():
            return "is a directory"
        if not path.exists():
            return "does not exist"
        if not path.is_file():
            # It is read more than once, and a pipe would be waited for.
            return "is not a regular file"
        return "" if os.access(path, os.R_OK) else "cannot be read: no permission"
    except (OSError, ValueError, RuntimeError):
        return "is not a path"
