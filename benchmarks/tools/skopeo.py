"""skopeo sync, from a YAML file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from benchmarks.copy_job import Command, CopyJob, Side
from benchmarks.tools.tool import Tool, script


class Skopeo(Tool):
    """skopeo sync, once for each destination; it knows one only."""

    name = "skopeo"
    settings = (
        "`skopeo sync --src yaml --dest docker --all --preserve-digests --keep-going`, once a destination; one image "
        "after the other, for it has no setting for more; its cache of known blobs is empty before each run"
    )
    program = "skopeo"

    def command(self, errand: CopyJob, folder: Path) -> Command:
        """Write the YAML file and give a script with a call for each destination."""
        images = {name: list(tags) if errand.each_tag else [] for name, tags in errand.digests.items()}
        source: dict[str, Any] = {"tls-verify": errand.source.ca_file is not None, "images": images}
        if errand.source.ca_file:
            source["cert-dir"] = str(_certificates(errand.source, folder / "certificates-source"))
        (folder / "skopeo.yml").write_text(yaml.safe_dump({errand.source.host: source}))
        (folder / "registries.d").mkdir()
        calls = [self._call(side, folder, number) for number, side in enumerate(errand.destinations)]
        # The cache of known blobs is in the home folder for users other than root; for root's is a system folder.
        environment = {"XDG_DATA_HOME": str(folder / "data"), "_CONTAINERS_ROOTLESS_UID": "1000"}
        return Command(calls[0] if len(calls) == 1 else script(folder, calls), environment)

    def _call(self, side: Side, folder: Path, number: int) -> list[str]:
        words = ["skopeo", "--insecure-policy", "--registries.d", str(folder / "registries.d"), "sync"]
        words += ["--src", "yaml", "--dest", "docker", "--all", "--preserve-digests", "--keep-going"]
        if side.ca_file:
            words += ["--dest-cert-dir", str(_certificates(side, folder / f"certificates-{number}"))]
        else:
            words.append("--dest-tls-verify=false")
        # The last part of a repository's name is kept, what is before it is given here.
        return [*words, str(folder / "skopeo.yml"), f"{side.host}/bench"]


def _certificates(side: Side, folder: Path) -> Path:
    folder.mkdir()
    if side.ca_file:
        shutil.copy(side.ca_file, folder / "ca.crt")
    return folder
