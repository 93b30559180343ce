"""Starts the command line, which belongs to the Prefect project that comes with the engine.

A wheel installs the one name ``imageferry`` and has the project inside it, so that ``flows``, ``tasks`` and the rest
hide no package of the user's. The project comes first on ``sys.path``, in the processes of Imageferry alone.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import NoReturn


def project_folder() -> Path:
    """Return the folder of the Prefect project: the wheel's, or the checkout's of an editable install.

    Raises ``RuntimeError`` where the engine is installed without it.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "project", package.parent):
        if (folder / "prefect.yaml").is_file() and (folder / "flows").is_dir():
            return folder
    raise RuntimeError(f"there is no Prefect project with {package}: expected it in {package / 'project'}")


def main() -> NoReturn:
    """Run the command line and end the process with its status."""
    sys.path.insert(0, str(project_folder()))
    # By name: nothing of the engine knows the command line.
    importlib.import_module("cli.main").main()
    raise AssertionError("the command line ends the process")
