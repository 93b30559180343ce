"""How Imageferry starts Python: with its project on the path, and with nothing of the current directory there."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from imageferry.project_folder import project_folder


def module_command(*words: str) -> list[str]:
    """Return the command of `python -m` with these words.

    With ``-P``: a ``flows`` or a ``json.py`` in the current directory is the user's, and must not be imported.
    """
    return [sys.executable, "-P", "-m", *words]


def project_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that imports the project, and of those that it starts itself."""
    paths = [str(project_folder()), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
