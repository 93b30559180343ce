"""crane copy, for whole repositories or tag by tag."""

from __future__ import annotations

import shlex
from pathlib import Path

from benchmarks.copy_job import Command, CopyJob
from benchmarks.tools.tool import PROC, Tool, script


class Crane(Tool):
    """crane, called once for each repository and destination, or once for each tag."""

    name = "crane"
    settings = (
        f"`crane copy --all-tags -j {PROC}`, once a repository and destination, one after the other; "
        f"work b: `crane copy` once a tag, {PROC} processes at once (`xargs -P {PROC}`)"
    )
    program = "crane"
    version_words = ("version",)

    def command(self, errand: CopyJob, folder: Path) -> Command:
        """Return a script of the calls."""
        trusted = {"SSL_CERT_FILE": str(bundle)} if (bundle := errand.authorities) else {}
        if errand.each_tag:
            return Command(self._side_by_side(errand, folder), trusted)
        calls = [
            ["crane", "copy", "--all-tags", "-j", str(PROC), f"{errand.source.host}/{name}", f"{side.host}/{name}"]
            for side in errand.destinations
            for name in errand.digests
        ]
        return Command(calls[0] if len(calls) == 1 else script(folder, calls), trusted)

    def _side_by_side(self, errand: CopyJob, folder: Path) -> list[str]:
        pairs = [
            f"{errand.source.host}/{repository}:{tag} {side.host}/{repository}:{tag}\n"
            for side in errand.destinations
            for repository, tag in errand.tags()
        ]
        (folder / "pairs").write_text("".join(pairs))
        return ["sh", "-c", f"xargs -n 2 -P {PROC} crane copy < {shlex.quote(str(folder / 'pairs'))}"]
