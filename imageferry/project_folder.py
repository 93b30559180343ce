"""Where the Prefect project is that comes with the engine: in a wheel inside the package, in a checkout around it."""

from __future__ import annotations

import os
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


def enter_project(directory: str) -> dict[str, str]:
    """Change into the project of a run: the pull step of the deployments. Return its ``directory``, as Prefect wants.

    That is ``directory``, from which the deployments were made, where this machine has a project there; else the
    project of the Imageferry that is installed here, wherever its checkout or its wheel is.
    """
    deployed = Path(directory)
    folder = deployed if (deployed / "flows" / "sync.py").is_file() else project_folder()
    if folder != deployed:
        print(f"there is no Imageferry in {directory} here: the run takes that of {folder}")
    os.chdir(folder)
    return {"directory": str(folder)}
