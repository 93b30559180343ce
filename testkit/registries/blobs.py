"""Blobs of the in-process registry."""

import re

from testkit.registries.exchange import Call, Reply, error
from testkit.registries.manifests import name_unknown
from testkit.registries.quirks import Quirks
from testkit.registries.storage import Storage, is_digest

_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")


class Blobs:
    """The endpoint for blobs."""

    def __init__(self, storage: Storage, quirks: Quirks) -> None:
        self.storage = storage
        self.quirks = quirks

    async def blob(self, call: Call) -> Reply:
        """HEAD, GET or DELETE of a blob."""
        if not is_digest(call.reference):
            return error(400, "DIGEST_INVALID", "invalid checksum digest format")
        repository = self.storage.repositories.get(call.repository)
        if repository is None:
            return name_unknown(self.quirks)
        data = self.storage.blobs.get(call.reference)
        if data is None or call.reference not in repository.blobs:
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if call.method == "DELETE":
            repository.blobs.discard(call.reference)
            return Reply(202)
        if call.method not in ("GET", "HEAD"):
            return error(405, "UNSUPPORTED")
        if call.method == "HEAD" and self.quirks.blob_head is not None:
            return Reply(self.quirks.blob_head)
        if self.quirks.refuse_ranges is not None and call.header("range"):
            return error(self.quirks.refuse_ranges, "RANGE_INVALID", "ranges are not supported")
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": call.reference}
        if not self.quirks.digest_header:
            del headers["Docker-Content-Digest"]
        return self._ranged(call, data, headers)

    def _ranged(self, call: Call, data: bytes, headers: dict[str, str]) -> Reply:
        wanted = _RANGE.match(call.header("range") or "") if self.quirks.ranges else None
        if wanted is None or wanted.group(0) == "bytes=-":
            return Reply(200, headers, data)
        first, last = wanted.groups()
        start = int(first) if first else max(0, len(data) - int(last))
        end = min(int(last), len(data) - 1) if first and last else len(data) - 1
        if start > end:
            return error(416, "RANGE_INVALID", headers={"Content-Range": f"bytes */{len(data)}"})
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        return Reply(206, headers, data[start : end + 1])
