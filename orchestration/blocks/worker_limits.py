"""What a stored configuration may read of the machine of the run: what the worker's owner has listed, and no more.

Blocks and variables are edited by whoever may open Prefect's UI. A file on the worker's disk is its owner's, and so is
what somebody runs on the command line: neither is limited.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imageferry.config.environment import VariableError
from imageferry.credentials.named import CredentialsError
from imageferry.model import RegistryAccess

# Variables that begin so are meant for Imageferry. The defaults of a destination are no secrets.
PREFIX = "IMAGEFERRY_"
_DEFAULTS = frozenset({"DEFAULT_REGISTRY", "DEFAULT_NAMESPACE"})

# It may hold a token, and is of no use in a configuration.
_NEVER = frozenset({"IMAGEFERRY_NOTIFICATIONS_URL"})

# Where certificates are, beside the folder of the run.
_CERTIFICATES = (Path("/etc/imageferry"), Path("/etc/ssl"), Path("/etc/pki"))

# Keys that name a file whose content is not sent to a registry.
_CERTIFICATE_KEYS = ("ca_file", "client_cert", "client_key")


# All keys of an entry of `auth` that name a file.
FILE_KEYS = (*_CERTIFICATE_KEYS, "password_file", "identity_token_file")


def _items(text: str) -> tuple[str, ...]:
    return tuple(item for each in text.split(",") if (item := each.strip()))


@dataclass(frozen=True)
class LimitedEnvironment(Mapping[str, str]):
    """The variables of an environment that are listed: names, and prefixes that end in ``_``.

    To ask for another one raises ``VariableError``, whether it is set or not.
    """

    environment: Mapping[str, str] = field(repr=False)

    def allows(self, name: str) -> bool:
        """Whether a stored configuration may read this variable."""
        if name in _NEVER:
            return False
        listed = (PREFIX, *_items(self.environment.get("IMAGEFERRY_ENVIRONMENT", "")))
        return name in _DEFAULTS or any(name == each or (each[-1] == "_" and name.startswith(each)) for each in listed)

    def __getitem__(self, name: str) -> str:
        self._check(name)
        return self.environment[name]

    def __contains__(self, name: object) -> bool:
        self._check(str(name))
        return name in self.environment

    def __iter__(self) -> Iterator[str]:
        return (name for name in self.environment if self.allows(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _check(self, name: str) -> None:
        if self.allows(name):
            return
        if name != name.upper():
            # It may be a password that begins with $.
            raise VariableError(
                "a value that itself begins with $ must come from a variable, one that the worker's owner has listed"
            )
        raise VariableError(
            f"a stored configuration may not read the environment variable {name} of a worker: call it {PREFIX}…, "
            "or list it in the worker's IMAGEFERRY_ENVIRONMENT"
        )


@dataclass(frozen=True)
class FileLimits:
    """The files that a stored configuration and a block may name; ``folder`` is where relative paths start."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def refusal(self, key: str, path: str) -> str:
        """Return why the entry's ``key`` may not name this file; empty where it may."""
        listed = [Path(each).expanduser() for each in _items(self.environment.get("IMAGEFERRY_FILES", ""))]
        allowed = [self.folder, *_CERTIFICATES, *listed] if key in _CERTIFICATE_KEYS else listed
        if self._is_below(path, allowed):
            return ""
        return (
            f"what is stored in Prefect may not name the file {path!r} of a worker: "
            "list its folder in the worker's IMAGEFERRY_FILES"
        )

    def check(self, access: RegistryAccess) -> RegistryAccess:
        """Return the access of a block. Raises ``CredentialsError`` where it names a file that it may not name."""
        for key in _CERTIFICATE_KEYS:
            path = getattr(access, key)
            if path is not None and (problem := self.refusal(key, str(path))):
                raise CredentialsError(f"{key}: {problem}")
        return access

    def _is_below(self, path: str, folders: list[Path]) -> bool:
        try:
            # Where it leads, past links and dots.
            real = (self.folder / Path(path).expanduser()).resolve()
            return any(real.is_relative_to(folder.resolve()) for folder in folders)
        except (OSError, ValueError, RuntimeError):
            return False
