"""What all tools have: a name, settings, a version, and a command for an errand."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from benchmarks.copy_job import Command, CopyJob

# What is in flight at once wherever a tool can be told: Imageferry's own default.
PROC = 5


class Tool(ABC):
    """One way to do a work."""

    name: str
    settings: str
    # The program that must be on PATH, and the words that make it tell its version.
    program: str
    version_words: tuple[str, ...] = ("--version",)
    # Whether it is only for the works that move one blob.
    one_blob_only = False

    def version(self) -> str | None:
        """Return the version; nothing where the program is not on PATH."""
        path = shutil.which(self.program)
        if path is None:
            return None
        done = subprocess.run([path, *self.version_words], capture_output=True, text=True, check=False)
        found = re.search(r"v?\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
        return found[0] if found else "?"

    @abstractmethod
    def command(self, errand: CopyJob, folder: Path) -> Command | None:
        """Write the files it needs into the folder and return the command; nothing where it cannot do the work."""


def script(folder: Path, commands: list[list[str]]) -> list[str]:
    """Write commands to a shell script that goes on after a failure, and ends with 1 then; return its call."""
    lines = ["failed=0", *(f"{shlex.join(command)} || failed=1" for command in commands), "exit $failed", ""]
    file = folder / "run.sh"
    file.write_text("\n".join(lines))
    return ["sh", str(file)]
