"""What a deployment takes from the configuration: where it is, and the registries that it names.

Imports no prefect: an error in the configuration is reported before that.
"""

from __future__ import annotations

from pathlib import Path

from imageferry.config import DEFAULT_FILE_NAMES, UNKNOWN_ENVIRONMENT, Files, find_files, load
from imageferry.credentials.named import NamedCredentials
from imageferry.model import ANY_REGISTRY
from imageferry.project_folder import project_folder


def find_configuration(config: Path | None, folder: Path) -> Path | None:
    """Return the configuration that is named, else the one that ``folder`` has; None where it has none."""
    if config is None and not any((folder / name).exists() for name in DEFAULT_FILE_NAMES):
        return None
    return find_files(config, None, None, folder).config


def registries_in(config: Path | None) -> list[str]:
    """Return the registries that the configuration names under `registries`; none without a configuration.

    Raises ``ConfigurationError`` for one that cannot be used.
    """
    if config is None:
        return []
    # Values of the environment and credentials belong to the machine of a run.
    configuration = load(Files(config), environment=UNKNOWN_ENVIRONMENT, credentials=NamedCredentials())
    return sorted(registry for registry in configuration.registries if registry != ANY_REGISTRY)


def config_parameter(config: Path | None, folder: Path) -> str | None:
    """Return what a run takes as its parameter `config` where it is given none; None for what prefect.yaml says.

    Runs do not start in ``folder``, in which the configuration was found, but in that of the project: the path is
    absolute, unless both are the same.
    """
    if config is None or (config.parent == folder and folder.resolve() == project_folder()):
        return None
    return str((folder / config).absolute())
