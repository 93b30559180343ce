"""The certificates that docker and podman keep for a registry: the folders ``certs.d``.

docker: ``/etc/docker/certs.d/HOST[:PORT]``; podman and skopeo (containers-certs.d(5)) look into
``~/.config/containers/certs.d`` and ``/etc/containers/certs.d`` before, and the first folder that exists counts.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from imageferry.reference import DOCKER_HUB

# In their order of precedence. Rootless docker has a folder of its own.
FOLDERS = (
    Path("~/.config/containers/certs.d"),
    Path("/etc/containers/certs.d"),
    Path("~/.config/docker/certs.d"),
    Path("/etc/docker/certs.d"),
)


class HostCertificates(NamedTuple):
    """What a folder holds: authorities to trust (``*.crt``), and the client's certificates (``*.cert``) with keys."""

    authorities: tuple[Path, ...] = ()
    clients: tuple[tuple[Path, Path], ...] = ()


def find_certificates(host: str) -> HostCertificates:
    """Return the certificates for a registry (host, with or without a port).

    Docker Hub's are found under each of its names. A folder that cannot be entered counts as none. Raises
    ``ssl.SSLError`` for a certificate without its key.
    """
    for folder in _folders(host):
        try:
            files = sorted(folder.iterdir())
        except OSError:
            continue
        return HostCertificates(
            tuple(file for file in files if file.suffix == ".crt"),
            tuple((file, _key_of(file)) for file in files if file.suffix == ".cert"),
        )
    return HostCertificates()


def _folders(host: str) -> Iterator[Path]:
    for folder in FOLDERS:
        try:
            place = folder.expanduser()
        except RuntimeError:
            # There is no home.
            continue
        yield place / host
        if host == "registry-1.docker.io":
            yield place / DOCKER_HUB


def _key_of(certificate: Path) -> Path:
    key = certificate.with_suffix(".key")
    if not key.is_file():
        raise ssl.SSLError(f"{certificate} has no key: expected {key}")
    return key
