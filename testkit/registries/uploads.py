"""Uploads of the in-process registry."""

import re
import uuid

from testkit.registries.exchange import Call, ClientDisconnect, Hangup, Reply, error
from testkit.registries.manifests import name_unknown
from testkit.registries.quirks import Quirks
from testkit.registries.storage import Storage, Upload, fits

_CONTENT_RANGE = re.compile(r"^(?:bytes )?(\d+)-(\d+)(?:/.*)?$")
_MOUNT_CODES = {401: "UNAUTHORIZED", 403: "DENIED", 404: "BLOB_UNKNOWN", 405: "UNSUPPORTED"}


class Uploads:
    """The endpoints for uploads."""

    def __init__(self, storage: Storage, quirks: Quirks) -> None:
        self.storage = storage
        self.quirks = quirks

    async def start(self, call: Call) -> Reply:
        """POST: a mount, a whole blob, or a new session."""
        if call.method != "POST":
            return error(405, "UNSUPPORTED")
        if call.repository not in self.storage.repositories and not self.quirks.create_on_push:
            return name_unknown(self.quirks)
        if call.kind == "mount":
            mounted = self._mount(call)
            if mounted is not None:
                return mounted
        digest = call.query("digest")
        if digest is not None and self.quirks.post_with_digest:
            return self._commit(call, await call.body(), digest)
        upload = Upload(call.repository)
        self.storage.uploads[upload.identity] = upload
        reply = self._progress(call, upload, 202)
        if self.quirks.least_chunk is not None:
            reply.headers["OCI-Chunk-Min-Length"] = str(self.quirks.least_chunk)
        return reply

    async def session(self, call: Call) -> Reply:
        """PATCH, PUT, GET or DELETE of a session."""
        upload = self.storage.uploads.get(call.reference)
        if upload is None or upload.repository != call.repository:
            return error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        call.idle_seconds = self.quirks.idle_seconds
        if call.method == "PATCH":
            return await self._patch(call, upload)
        if call.method == "PUT":
            return await self._put(call, upload)
        if call.method == "GET":
            return self._progress(call, upload, 204)
        if call.method == "DELETE" and self.quirks.cancel_status == 204:
            del self.storage.uploads[upload.identity]
            return Reply(204)
        if call.method == "DELETE":
            return error(self.quirks.cancel_status, "DENIED", "cancelling is not allowed")
        return error(405, "UNSUPPORTED")

    def _mount(self, call: Call) -> Reply | None:
        """Link the blob of another repository; None where the request opens a session instead."""
        if self.quirks.mount not in (201, 202):
            return error(self.quirks.mount, _MOUNT_CODES.get(self.quirks.mount, "DENIED"), "mount refused")
        digest = call.query("mount") or ""
        source = self.storage.repositories.get(call.query("from") or "")
        if self.quirks.mount == 202 or source is None or digest not in source.blobs:
            return None
        self.storage.repository(call.repository).blobs.add(digest)
        return self._created(call, digest)

    async def _patch(self, call: Call, upload: Upload) -> Reply:
        refusal = self._patch_refusal(call, upload)
        if refusal is not None:
            return refusal
        try:
            async for chunk in call.chunks():
                upload.data += chunk
        except (ClientDisconnect, Hangup):
            if self.quirks.broken_patch == "drop":
                self.storage.uploads.pop(upload.identity, None)
            raise
        upload.patches += 1
        return self._progress(call, upload, self.quirks.patch_status)

    def _patch_refusal(self, call: Call, upload: Upload) -> Reply | None:
        if self.quirks.refuse_patch is not None:
            return error(self.quirks.refuse_patch, "UNSUPPORTED", "PATCH is not supported")
        content_range = call.header("content-range")
        if self.quirks.refuse_chunks is not None and (upload.patches or content_range):
            return error(self.quirks.refuse_chunks, "UNSUPPORTED", "chunked uploads are not supported")
        return self._wrong_state(call, upload) or self._wrong_range(call, upload)

    async def _put(self, call: Call, upload: Upload) -> Reply:
        refusal = self._wrong_state(call, upload) or self._wrong_range(call, upload)
        if refusal is not None:
            return refusal
        digest = call.query("digest")
        if digest is None:
            return error(400, "DIGEST_INVALID", "digest missing")
        try:
            body = await call.body()
        except (ClientDisconnect, Hangup):
            if self.quirks.broken_patch == "drop":
                self.storage.uploads.pop(upload.identity, None)
            raise
        if self.quirks.patch_before_put and body and not upload.patches:
            return error(400, "BLOB_UPLOAD_INVALID", "no content was uploaded in this session")
        self.storage.uploads.pop(upload.identity, None)
        return self._commit(call, bytes(upload.data) + body if upload.data else body, digest)

    def _commit(self, call: Call, data: bytes, digest: str) -> Reply:
        if not fits(data, digest):
            return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        quota = self.quirks.quota
        if quota is not None and digest not in self.storage.blobs and self.storage.size() + len(data) > quota:
            return error(403, "DENIED", f"adding {len(data)} bytes would exceed the configured quota of {quota}")
        self.storage.put_blob(call.repository, data, digest)
        return self._created(call, digest)

    def _created(self, call: Call, digest: str) -> Reply:
        headers = {"Location": self._base(call) + f"/v2/{call.repository}/blobs/{digest}"}
        if self.quirks.digest_header:
            headers["Docker-Content-Digest"] = digest
        return Reply(201, headers)

    def _wrong_state(self, call: Call, upload: Upload) -> Reply | None:
        if self.quirks.state and call.query("_state") != upload.state:
            return error(400, "BLOB_UPLOAD_INVALID", "blob upload state is not the newest")
        return None

    def _wrong_range(self, call: Call, upload: Upload) -> Reply | None:
        text = call.header("content-range")
        if text is None:
            return None
        match = _CONTENT_RANGE.match(text)
        if match is None or int(match.group(1)) != len(upload.data):
            return error(416, "RANGE_INVALID", "upload resumed at wrong offset", self._session_headers(call, upload))
        length = call.header("content-length")
        if length is not None and int(match.group(2)) - int(match.group(1)) + 1 != int(length):
            return error(400, "SIZE_INVALID", "Content-Range and Content-Length differ")
        return None

    def _progress(self, call: Call, upload: Upload, status: int) -> Reply:
        if (self.quirks.state and status != 204) or call.method == "PATCH":
            upload.state = uuid.uuid4().hex
        reply = Reply(status, self._session_headers(call, upload))
        upload.reported = len(upload.data)
        return reply

    def _session_headers(self, call: Call, upload: Upload) -> dict[str, str]:
        size = upload.reported if self.quirks.stale_range else len(upload.data)
        path = f"/v2/{upload.repository}/blobs/uploads/{upload.identity}"
        query = f"?_state={upload.state}" if self.quirks.state else ""
        return {
            "Location": self._base(call) + path + query,
            "Range": f"0-{max(0, size - 1)}",
            "Docker-Upload-UUID": upload.identity,
        }

    def _base(self, call: Call) -> str:
        if self.quirks.location == "relative":
            return ""
        if self.quirks.location == "other-host":
            return self.quirks.location_base
        return f"{call.request.url.scheme}://{call.header('host')}"
