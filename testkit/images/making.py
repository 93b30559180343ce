"""Real images, made with umoci and pushed with skopeo. Each is made once, however often it is asked for."""

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from testkit.images.documents import DOCKER_MANIFEST, OCI_MANIFEST, index_manifest
from testkit.images.push import Auth, push_raw
from testkit.images.skopeo import skopeo_copy
from testkit.processes import program


@dataclass(frozen=True)
class MadeImage:
    """An image on disk: skopeo's name of the place, and its manifest."""

    place: str
    manifest: bytes
    media_type: str

    @property
    def digest(self) -> str:
        """The digest of its manifest."""
        return "sha256:" + hashlib.sha256(self.manifest).hexdigest()


class ImageMaker:
    """Makes images in a folder."""

    def __init__(self, folder: Path) -> None:
        program("skopeo", package="skopeo")
        self._umoci = program("umoci", package="umoci")
        self._folder = folder
        self._made: dict[tuple[object, ...], MadeImage] = {}

    def image(
        self,
        name: str,
        layers: tuple[bytes, ...] = (b"hello",),
        platform: str = "linux/amd64",
        *,
        docker: bool = False,
    ) -> MadeImage:
        """Make an image with a layer for each of the contents. Equal contents make equal layers."""
        key = (name, layers, platform, docker)
        if key not in self._made:
            self._made[key] = self._as_docker(self.image(*key[:3])) if docker else self._make(*key[:3])
        return self._made[key]

    def pair(self, name: str = "pair", *, docker: bool = False) -> tuple[MadeImage, MadeImage]:
        """Make two images that share their first layer."""
        shared = b"shared by two" * 1000
        return (
            self.image(f"{name}-one", (shared, b"only the first"), docker=docker),
            self.image(f"{name}-two", (shared, b"only the second"), docker=docker),
        )

    def push(self, image: MadeImage, host: str, repository: str, tag: str | None, auth: Auth | None = None) -> str:
        """Push an image with skopeo, by tag or (None) by digest, and return its digest."""
        mark = f":{tag}" if tag is not None else f"@{image.digest}"
        skopeo_copy(image.place, f"docker://{host}/{repository}{mark}", "--preserve-digests", destination_auth=auth)
        return image.digest

    def push_index(
        self,
        host: str,
        repository: str,
        tag: str | None,
        platforms: tuple[str, ...] = ("linux/amd64", "linux/arm64/v8", "linux/arm/v7"),
        *,
        docker: bool = False,
        auth: Auth | None = None,
    ) -> str:
        """Push an image for each platform by digest, then an index of them; return the index's digest."""
        children = []
        for platform in platforms:
            contents = (b"the same everywhere", f"for {platform}".encode())
            image = self.image("platform", contents, platform, docker=docker)
            self.push(image, host, repository, None, auth)
            children.append((image.media_type, image.manifest, image.digest, platform))
        index = index_manifest(list(children), docker=docker)
        return push_raw(host, repository, tag, index.data, index.media_type, auth)

    def _make(self, name: str, layers: tuple[bytes, ...], platform: str) -> MadeImage:
        layout = self._folder / f"oci-{len(self._made)}-{abs(hash((name, layers, platform)))}"
        self._run("init", "--layout", str(layout))
        self._run("new", "--image", f"{layout}:made")
        for number, content in enumerate(layers):
            self._insert(layout, content, number)
        system, architecture, *_ = platform.split("/")
        self._run(
            "config",
            "--image",
            f"{layout}:made",
            "--os",
            system,
            "--architecture",
            architecture,
            "--author",
            name,
        )
        index = json.loads((layout / "index.json").read_bytes())
        (digest,) = (entry["digest"] for entry in index["manifests"])
        manifest = (layout / "blobs" / "sha256" / digest.partition(":")[2]).read_bytes()
        return MadeImage(f"oci:{layout}:made", manifest, OCI_MANIFEST)

    def _insert(self, layout: Path, content: bytes, number: int) -> None:
        """Put a file in a layer of its own. Its time is fixed, so that equal contents make equal layers."""
        stem = hashlib.sha256(content).hexdigest()[:12]
        file = self._folder / f"content-{stem}"
        file.write_bytes(content)
        os.utime(file, (1_577_836_800, 1_577_836_800))
        self._run("insert", "--image", f"{layout}:made", "--rootless", str(file), f"/layer-{number}")

    def _as_docker(self, image: MadeImage) -> MadeImage:
        """Turn an image into one of Docker schema 2."""
        folder = self._folder / f"docker-{image.digest[7:19]}"
        if not folder.exists():
            skopeo_copy(image.place, f"dir:{folder}", "--format", "v2s2")
        return MadeImage(f"dir:{folder}", (folder / "manifest.json").read_bytes(), DOCKER_MANIFEST)

    def _run(self, *arguments: str) -> None:
        done = subprocess.run([self._umoci, *arguments], capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"umoci {arguments[0]} failed: {done.stderr.decode('utf-8', 'replace')[-2000:]}")
