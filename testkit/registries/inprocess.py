"""An OCI distribution registry in process, which can be made to misbehave."""

import ssl

from testkit.images.documents import Layer, image_manifest, index_manifest
from testkit.registries.auth import Auth
from testkit.registries.blobs import Blobs
from testkit.registries.exchange import Call, Reply, error
from testkit.registries.manifests import Manifests
from testkit.registries.quirks import Quirks
from testkit.registries.server import Host
from testkit.registries.storage import Manifest, Storage
from testkit.registries.uploads import Uploads


class FakeRegistry(Host):
    """The whole protocol over a storage in memory.

    `quirks` are its lasting ways, `rules` what happens to single requests, `auth` whom it lets in. Several
    may share one storage: one that takes the uploads of another, or that serves its blobs.
    """

    def __init__(
        self,
        quirks: Quirks | None = None,
        auth: Auth | None = None,
        storage: Storage | None = None,
        address: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(address, tls)
        self.quirks = quirks or Quirks()
        self.auth = auth
        self.storage = storage or Storage()
        self._manifests = Manifests(self.storage, self.quirks)
        self._blobs = Blobs(self.storage, self.quirks)
        self._uploads = Uploads(self.storage, self.quirks)

    async def answer(self, call: Call) -> Reply:
        """Answer as the protocol has it."""
        if self.quirks.refuse_authorization and call.header("authorization"):
            return error(400, "INVALID_ARGUMENT", "only one auth mechanism allowed")
        if call.kind == "token":
            return error(404, "UNSUPPORTED") if self.auth is None else await self.auth.token(call)
        refusal = None if self.auth is None else self.auth.check(call, self.url)
        if refusal is not None:
            return refusal
        reply = await self._routed(call)
        reply.headers.setdefault("Docker-Distribution-Api-Version", "registry/2.0")
        return reply

    async def _routed(self, call: Call) -> Reply:
        resource = call.route.resource
        if resource == "ping":
            return Reply(200, {"Content-Type": "application/json"}, b"{}")
        if resource == "tags":
            return await self._manifests.tags(call)
        if resource == "manifest":
            return await self._manifests.manifest(call)
        if resource == "blob":
            return await self._blobs.blob(call)
        if resource == "uploads":
            return await self._uploads.start(call)
        if resource == "session":
            return await self._uploads.session(call)
        return error(404, "UNSUPPORTED", "no such endpoint")

    def add_blob(self, repository: str, data: bytes, digest: str | None = None) -> str:
        """Put a blob there and return its digest; with `digest`, whatever the bytes are."""
        return self.storage.put_blob(repository, data, digest)

    def add_manifest(
        self, repository: str, tag: str | None, data: bytes, media_type: str, digest: str | None = None
    ) -> str:
        """Put a manifest there, checking nothing, and return its digest."""
        return self.storage.put_manifest(repository, Manifest(data, media_type), tag, digest)

    def image(
        self,
        repository: str,
        tag: str | None,
        layers: list[bytes | Layer] | None = None,
        platform: str = "linux/amd64",
        *,
        docker: bool = False,
    ) -> str:
        """Put an image there with its config and layers, and return its digest. A layer may be mere bytes."""
        document = image_manifest(
            layers if layers is not None else [b"layer of " + repository.encode()], platform, docker=docker
        )
        for blob in document.blobs:
            self.add_blob(repository, blob)
        return self.add_manifest(repository, tag, document.data, document.media_type)

    def index(
        self, repository: str, tag: str | None, children: dict[str, str] | list[str], *, docker: bool = False
    ) -> str:
        """Put an index there over manifests that are there, and return its digest.

        `children` are platforms (`os/arch[/variant]`), each with its manifest's digest, or mere digests.
        """
        pairs = list(children.items()) if isinstance(children, dict) else [(None, digest) for digest in children]
        held = self.storage.repository(repository).manifests
        entries = [(held[digest].media_type, held[digest].data, digest, platform) for platform, digest in pairs]
        document = index_manifest(entries, docker=docker)
        return self.add_manifest(repository, tag, document.data, document.media_type)

    def tag(self, repository: str, tag: str, reference: str) -> None:
        """Return a manifest that is there another tag, or move a tag."""
        found = self.storage.repository(repository).find(reference)
        if found is None:
            raise KeyError(reference)
        self.storage.repository(repository).tags[tag] = found[0]

    def manifest(self, repository: str, reference: str) -> bytes | None:
        """The bytes of a manifest by tag or digest, or None."""
        found = self.storage.repository(repository).find(reference)
        return None if found is None else found[1].data

    def media_type(self, repository: str, reference: str) -> str | None:
        """The media type of a manifest by tag or digest, or None."""
        found = self.storage.repository(repository).find(reference)
        return None if found is None else found[1].media_type

    def digest(self, repository: str, reference: str) -> str | None:
        """The digest of a manifest by tag or digest, or None."""
        found = self.storage.repository(repository).find(reference)
        return None if found is None else found[0]

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository, sorted."""
        return sorted(self.storage.repository(repository).tags)

    def blob(self, repository: str, digest: str) -> bytes | None:
        """The bytes of a blob, or None where that repository has it not."""
        held = digest in self.storage.repository(repository).blobs
        return self.storage.blobs.get(digest) if held else None
