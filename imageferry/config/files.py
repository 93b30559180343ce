"""Which files hold the configuration: those that were named, or the one in the current directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imageferry.config.diagnostics import ConfigurationError

# The names under which a configuration is found in the current directory, in this order.
DEFAULT_FILE_NAMES = ("config.json", "config.yaml", "config.yml")


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a configuration: ``config`` alone, or ``images`` with or without ``auth``."""

    config: Path | None = None
    auth: Path | None = None
    images: Path | None = None


def find_files(config: Path | None, auth: Path | None, images: Path | None, folder: Path) -> Files:
    """Return the files that were named, else the first of ``DEFAULT_FILE_NAMES`` that exists in ``folder``.

    With ``config`` the other two are not read, as with image-syncer. Raises ``ConfigurationError`` if none exists, or
    if there is ``auth`` alone.
    """
    if config is not None:
        return Files(config)
    if auth is not None and images is None:
        raise ConfigurationError.of("--auth", "has no rules with it: give --images FILE too")
    if images is not None:
        return Files(None, auth, images)
    for name in DEFAULT_FILE_NAMES:
        if (folder / name).exists():
            return Files(config=folder / name)
    first, *others = DEFAULT_FILE_NAMES
    raise ConfigurationError.of(
        str(folder / first),
        f"does not exist, nor does {' or '.join(others)}: give --config FILE, or --images FILE",
    )
