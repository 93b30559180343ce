"""Where the Prefect project is that comes with the engine: in a wheel inside the package, in a checkout around it."""

from __future__ import annotations

from pathlib import Path


def project_folder() -> Path:
    """Return the folder of the Prefect project: the wheel's, or the checkout's of an editable install.

    Raises ``RuntimeError`` where the engine is installed without it.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "project", package.parent):
        if (folder / "prefect.yaml").is_file() and (folder / "flows").is_dir():
            return folder
    raise RuntimeError(f"there is no Prefect project with {package}: expected it in {package / 'project'}")
