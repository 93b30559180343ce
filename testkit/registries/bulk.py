"""A registry of more bytes and more tags than a test can store: ``python -m testkit.registries.bulk LAYERS MIB TAGS``.

It makes what it serves as it goes, and counts and forgets what it is given. It prints its address.
"""

import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

MIB = 1024 * 1024
PAGE = 1000
MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"


class Content:
    """What is served: an image of `layers` layers of `mib` MiB each, under every one of `tags` tags."""

    def __init__(self, layers: int, mib: int, tags: int) -> None:
        self.mib = mib
        self.tags = [f"v{number:06}" for number in range(tags)]
        self.received = 0
        with ThreadPoolExecutor() as threads:
            digests = list(threads.map(self._digest, range(layers)))
        self.blocks = {digest: bytes([number]) * MIB for number, digest in enumerate(digests)}
        self.config = b"{}"
        config = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": _sha256(self.config),
            "size": len(self.config),
        }
        layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": mib * MIB}
        document = {"schemaVersion": 2, "mediaType": MEDIA_TYPE, "config": config}
        self.manifest = json.dumps(document | {"layers": [layer | {"digest": digest} for digest in digests]}).encode()

    def _digest(self, number: int) -> str:
        block, hashed = bytes([number]) * MIB, hashlib.sha256()
        for _ in range(self.mib):
            hashed.update(block)
        return f"sha256:{hashed.hexdigest()}"


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Server(ThreadingHTTPServer):
    """A server to which a whole run may connect at once."""

    request_queue_size = 128


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"
    wbufsize = 64 * 1024
    content: Content

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Every tag is there, no blob is."""
        self._manifest(b"") if "/manifests/" in self.path else self._answer(404)

    def do_GET(self) -> None:
        """Serve the count of what was received, tags, manifests and blobs."""
        if self.path == "/received":
            self._answer(200, json.dumps(self.content.received).encode())
        elif "/tags/list" in self.path:
            self._tags()
        elif "/manifests/" in self.path:
            self._manifest(self.content.manifest)
        elif "/blobs/" in self.path:
            self._blob(self.path.rpartition("/")[2])
        else:
            self._answer(200, b"{}")

    def do_POST(self) -> None:
        """Begin an upload."""
        self._answer(202, Location=f"{self.path}session")

    def do_PATCH(self) -> None:
        """Take bytes."""
        self._take()
        self._answer(202, Location=self.path)

    def do_PUT(self) -> None:
        """Take the end of an upload, or a manifest, whose digest is named."""
        if "/manifests/" in self.path:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.content.received += len(body)
            self._answer(201, Docker_Content_Digest=_sha256(body))
        else:
            self._take()
            self._answer(201)

    def _tags(self) -> None:
        tags = self.content.tags
        last = parse_qs(urlsplit(self.path).query).get("last", [""])[0]
        begin = tags.index(last) + 1 if last else 0
        page = tags[begin : begin + PAGE]
        more = begin + PAGE < len(tags)
        path = urlsplit(self.path).path
        link = f'<{path}?n={PAGE}&last={page[-1]}>; rel="next"' if more else ""
        self._answer(200, json.dumps({"name": "a/app", "tags": page}).encode(), Link=link)

    def _manifest(self, body: bytes) -> None:
        manifest = self.content.manifest
        self._answer(200, body, len(manifest), Docker_Content_Digest=_sha256(manifest), Content_Type=MEDIA_TYPE)

    def _blob(self, digest: str) -> None:
        block = self.content.blocks.get(digest)
        if block is None:
            self._answer(200, self.content.config)
            return
        self._answer(200, length=self.content.mib * MIB)
        for _ in range(self.content.mib):
            self.wfile.write(block)

    def _take(self) -> None:
        left, buffer = int(self.headers.get("Content-Length", 0)), memoryview(bytearray(MIB))
        while left:
            read = self.rfile.readinto(buffer[: min(left, MIB)])
            if not read:
                return
            left -= read
            self.content.received += read

    def _answer(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def main() -> None:
    """Serve until killed."""
    layers, mib, tags = map(int, sys.argv[1:4])
    Handler.content = Content(layers, mib, tags)
    server = Server(("127.0.0.1", 0), Handler)
    print(f"127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
