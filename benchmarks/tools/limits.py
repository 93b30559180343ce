"""What the machine can do at best with one blob: curl piped to curl, and a bare socket in Python."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from benchmarks.copy_job import Command, CopyJob
from benchmarks.tools.imageferry import ROOT
from benchmarks.tools.tool import Tool

# For each blob a session, a pipe and an end; then the manifest.
_CURL = r"""set -eu
curl="curl -sSf $trust"
manifest=$($curl -H "Accept: $type" "$source/v2/$repository/manifests/$tag"; echo .)
for digest in $blobs; do
    session=$($curl -D - -o answer -X POST -H 'Content-Length: 0' "$destination/v2/$repository/blobs/uploads/" |
        tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
    session=$($curl "$source/v2/$repository/blobs/$digest" |
        $curl -D - -o answer -X PATCH -T - -H 'Expect:' -H 'Content-Type: application/octet-stream' "$session" |
        tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
    $curl -o answer -X PUT -H 'Content-Length: 0' "$session&digest=$digest"
done
printf %s "${manifest%.}" |
    $curl -o answer -X PUT -H "Content-Type: $type" --data-binary @- "$destination/v2/$repository/manifests/$tag"
"""


class CurlPipe(Tool):
    """curl that reads, piped to curl that sends."""

    name = "limit: curl to curl"
    settings = "`curl source | curl -X PATCH -T - destination`, with the POST and PUT around it; no digest is checked"
    program = "curl"
    one_blob_only = True

    def command(self, errand: CopyJob, folder: Path) -> Command | None:
        """Return the script where the work is one blob."""
        image = errand.image
        if image is None:
            return None
        bundle = errand.authorities
        environment = {
            "trust": f"--cacert {bundle}" if bundle else "",
            "source": errand.source.url,
            "destination": errand.destinations[0].url,
            "repository": image.repository,
            "tag": image.tag,
            "type": image.media_type,
            "blobs": " ".join(image.blobs),
        }
        return Command(["sh", "-c", _CURL], environment)


class Floor(Tool):
    """The least that Python can do it with."""

    name = "limit: Python socket"
    settings = "a blocking socket: `recv_into` of 256 KiB, SHA-256, `sendall` (`benchmarks/floor.py`)"
    program = sys.executable
    one_blob_only = True

    def command(self, errand: CopyJob, folder: Path) -> Command | None:
        """Return the program's call where the work is one blob."""
        image = errand.image
        if image is None:
            return None
        bundle = errand.authorities
        task = {
            **dataclasses.asdict(image),
            "source": errand.source.host,
            "destination": errand.destinations[0].host,
            "ca_file": str(bundle) if bundle else None,
        }
        (folder / "floor.json").write_text(json.dumps(task))
        program = str(ROOT / "benchmarks" / "floor.py")
        return Command([sys.executable, "-I", "-S", program, str(folder / "floor.json")])
