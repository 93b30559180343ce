"""regsync, which is told what to do by a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import yaml

from benchmarks.copy_job import Command, CopyJob
from benchmarks.tools.tool import PROC, Tool


class RegsyncDefaults(Tool):
    """regsync as it is with no word about parallel work: one entry and one image after the other."""

    name = "regsync defaults"
    settings = "`regsync once`, nothing set: one image after the other, 3 requests at once a registry"
    program = "regsync"
    version_words = ("version",)
    # Settings of its `defaults`, and of each registry.
    defaults: Mapping[str, int] = MappingProxyType({})
    limits: Mapping[str, int] = MappingProxyType({})

    def command(self, errand: CopyJob, folder: Path) -> Command:
        """Write the configuration and return the command."""
        content = {
            "version": 1,
            "creds": [
                {
                    "registry": side.host,
                    **(
                        {"tls": "enabled", "regcert": side.ca_file.read_text()} if side.ca_file else {"tls": "disabled"}
                    ),
                    **self.limits,
                }
                for side in errand.sides
            ],
            "defaults": {"skipDockerConfig": True, **self.defaults},
            "sync": [entry for side in errand.destinations for entry in _entries(errand, side.host)],
        }
        (folder / "regsync.yml").write_text(yaml.safe_dump(content, sort_keys=False))
        return Command(["regsync", "once", "-c", str(folder / "regsync.yml")])


class Regsync(RegsyncDefaults):
    """regsync that may do as much at once as Imageferry."""

    name = "regsync parallel"
    settings = f"`regsync once`, `parallel: {PROC}` (entries side by side), `reqConcurrent: {PROC}`"
    defaults = MappingProxyType({"parallel": PROC})
    limits = MappingProxyType({"reqConcurrent": PROC})


def _entries(errand: CopyJob, destination: str) -> list[dict[str, str]]:
    if errand.each_tag:
        return [
            {
                "source": f"{errand.source.host}/{repository}:{tag}",
                "target": f"{destination}/{repository}:{tag}",
                "type": "image",
            }
            for repository, tag in errand.tags()
        ]
    return [
        {"source": f"{errand.source.host}/{name}", "target": f"{destination}/{name}", "type": "repository"}
        for name in errand.digests
    ]
