"""Manifests and tags of the in-process registry."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from testkit.registries.exchange import Call, Reply, error
from testkit.registries.quirks import Quirks
from testkit.registries.storage import SCHEMA1, Manifest, Repository, Storage, fits, is_digest

_LARGEST = 4 * 1024 * 1024


def name_unknown(quirks: Quirks) -> Reply:
    """Answer for a repository that does not exist."""
    codes = {401: "UNAUTHORIZED", 403: "DENIED"}
    code = codes.get(quirks.unknown_name, "NAME_UNKNOWN")
    return error(quirks.unknown_name, code, "repository name not known to registry")


class Manifests:
    """The endpoints for manifests and tags."""

    def __init__(self, storage: Storage, quirks: Quirks) -> None:
        self.storage = storage
        self.quirks = quirks

    async def manifest(self, call: Call) -> Reply:
        """HEAD, GET, PUT or DELETE of a manifest."""
        if call.method == "PUT":
            return await self._put(call)
        repository = self.storage.repositories.get(call.repository)
        if repository is None:
            return name_unknown(self.quirks)
        found = repository.find(call.reference)
        if found is None:
            return error(404, "MANIFEST_UNKNOWN", f"manifest unknown: {call.reference}")
        if call.method == "DELETE":
            return self._delete(repository, call.reference)
        if call.method not in ("GET", "HEAD"):
            return error(405, "UNSUPPORTED")
        if call.method == "HEAD" and self.quirks.manifest_head is not None:
            return Reply(self.quirks.manifest_head)
        digest, manifest = found
        headers = {"Content-Type": manifest.media_type}
        if self.quirks.digest_header:
            headers["Docker-Content-Digest"] = digest
        return Reply(200, headers, manifest.data)

    def _delete(self, repository: Repository, reference: str) -> Reply:
        if reference in repository.tags:
            del repository.tags[reference]
            return Reply(202)
        del repository.manifests[reference]
        repository.tags = {tag: digest for tag, digest in repository.tags.items() if digest != reference}
        return Reply(202)

    async def _put(self, call: Call) -> Reply:
        data = await call.body()
        media_type = call.header("content-type") or ""
        if len(data) > _LARGEST:
            return error(413, "SIZE_INVALID", "manifest too large")
        manifest = Manifest(data, media_type)
        try:
            document = manifest.document()
            digest = manifest.digest
        except (ValueError, KeyError):
            return error(400, "MANIFEST_INVALID", "not JSON")
        refusal = self._refusal(call, manifest, document)
        if refusal is not None:
            return refusal
        tag = call.reference
        if is_digest(tag):
            tag, digest = "", tag
        if self.quirks.rewrite_manifests:
            manifest = Manifest(json.dumps(document, sort_keys=True).encode(), media_type)
            digest = manifest.digest
        self.storage.put_manifest(call.repository, manifest, tag or None, digest)
        headers = {"Location": f"/v2/{call.repository}/manifests/{digest}"}
        if self.quirks.digest_header:
            headers["Docker-Content-Digest"] = digest
        if isinstance(document.get("subject"), dict):
            headers["OCI-Subject"] = str(document["subject"].get("digest"))
        return Reply(201, headers)

    def _refusal(self, call: Call, manifest: Manifest, document: dict[str, Any]) -> Reply | None:
        """Why a manifest is not taken, or None."""
        if not manifest.media_type:
            return error(400, "MANIFEST_INVALID", "no Content-Type")
        if document.get("mediaType", manifest.media_type) != manifest.media_type:
            return error(400, "MANIFEST_INVALID", "Content-Type and mediaType differ")
        if ":" in call.reference and not (fits(manifest.data, call.reference) or manifest.digest == call.reference):
            return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        repository = self.storage.repositories.get(call.repository)
        if repository is None and not self.quirks.create_on_push:
            return name_unknown(self.quirks)
        repository = repository or Repository()
        if self.quirks.immutable_tags and call.reference in repository.tags:
            return error(412, "PRECONDITION", f"Failed to process request: tag {call.reference} is immutable")
        if not self.quirks.check_references:
            return None
        missing = [digest for digest in references(manifest.media_type, document) if not _holds(repository, digest)]
        if missing:
            return error(404, "MANIFEST_BLOB_UNKNOWN", f"blob unknown to registry: {', '.join(missing)}")
        return None

    async def tags(self, call: Call) -> Reply:
        """One page of the tags of a repository."""
        repository = self.storage.repositories.get(call.repository)
        if repository is None:
            return name_unknown(self.quirks)
        asked = call.query("n")
        if asked is not None and (not asked.isdigit() or int(asked) > (self.quirks.most_tags or int(asked))):
            return error(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested")
        last = call.query("last") or ""
        tags = sorted(tag for tag in repository.tags if tag > last)
        size = min(int(asked) if asked is not None else len(tags), self.quirks.page_size or len(tags))
        page = tags[:size]
        headers = {"Content-Type": "application/json"}
        if len(page) < len(tags) or (self.quirks.link == "loop" and self.quirks.page_size):
            headers["Link"] = self._link(call, page[-1] if page else last, asked)
        listed = None if not page and self.quirks.tags_null else page
        return Reply(200, headers, json.dumps({"name": call.repository, "tags": listed}).encode())

    def _link(self, call: Call, last: str, asked: str | None) -> str:
        style = self.quirks.link
        query = f"?last={quote(call.query('last') or '' if style == 'loop' else last)}" + (
            f"&n={asked}" if asked else ""
        )
        host = call.header("host")
        scheme = call.request.url.scheme
        other = "https" if scheme == "http" else "http"
        bases = {
            "absolute": f"{scheme}://{host}{call.path}",
            "other-host": f"{scheme}://internal.invalid:5000{call.path}",
            "other-scheme": f"{other}://{host}{call.path}",
            "query-only": "",
        }
        return f'<{bases.get(style, call.path)}{query}>; rel="next"'


def references(media_type: str, document: dict[str, Any]) -> Iterator[str]:
    """The digests that a manifest needs in its repository."""
    if media_type in SCHEMA1:
        yield from (layer["blobSum"] for layer in document.get("fsLayers") or [])
        return
    config = document.get("config")
    if isinstance(config, dict) and "digest" in config:
        yield config["digest"]
    for layer in document.get("layers") or []:
        if not layer.get("urls"):
            yield layer["digest"]
    for child in document.get("manifests") or []:
        yield child["digest"]


def _holds(repository: Repository, digest: str) -> bool:
    return digest in repository.blobs or digest in repository.manifests
