"""Starts the command line, which belongs to the Prefect project that comes with the engine.

A wheel installs the one name ``imageferry`` and has the project inside it, so that ``flows``, ``tasks`` and the rest
hide no package of the user's. The project comes first on ``sys.path``, in the processes of Imageferry alone.
"""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

from imageferry.project_folder import project_folder


def main() -> NoReturn:
    """Run the command line and end the process with its status."""
    sys.path.insert(0, str(project_folder()))
    # By name: nothing of the engine knows the command line.
    importlib.import_module("cli.main").main()
    raise AssertionError("the command line ends the process")
