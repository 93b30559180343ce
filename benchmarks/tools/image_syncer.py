"""image-syncer, with the same rules as Imageferry."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.copy_job import Command, CopyJob
from benchmarks.tools.imageferry import rules
from benchmarks.tools.tool import PROC, Tool


class ImageSyncer(Tool):
    """image-syncer of 1.2 or later: auth and images in two files."""

    name = "image-syncer"
    settings = f"`image-syncer --proc={PROC} --retries=2`, a rule a repository (work b: a rule a tag)"
    program = "image-syncer"
    version_words = ("version",)

    def command(self, errand: CopyJob, folder: Path) -> Command:
        """Write the two files and return the command."""
        auth = {side.host: {} if side.ca_file else {"insecure": True} for side in errand.sides}
        (folder / "auth.json").write_text(json.dumps(auth))
        (folder / "images.json").write_text(json.dumps(rules(errand)))
        files = [f"--auth={folder / 'auth.json'}", f"--images={folder / 'images.json'}"]
        trusted = {"SSL_CERT_FILE": str(bundle)} if (bundle := errand.authorities) else {}
        return Command(["image-syncer", *files, f"--proc={PROC}", "--retries=2"], trusted)
