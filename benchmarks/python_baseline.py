"""A program that copies one image with as little as Python can do it with: ``python floor.py TASK.json``.

It is the floor of wall and CPU time that Imageferry is held against, and no more: nothing is retried, mounted or
checked besides the digests.
"""

import hashlib
import json
import socket
import ssl
import sys
from typing import Any

CHUNK = 262_144


class Connection:
    """One connection to a registry, kept alive."""

    def __init__(self, host: str, ca_file: str | None) -> None:
        self._host = host
        address, _, port = host.rpartition(":")
        self._socket: socket.socket = socket.create_connection((address, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if ca_file:
            context = ssl.create_default_context(cafile=ca_file)
            self._socket = context.wrap_socket(self._socket, server_hostname=address)
        self._left = b""

    def ask(self, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> None:
        """Send a request with a body, or the head of one whose body follows."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in ({"Content-Length": str(len(body))} | headers).items()]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

    def send(self, data: memoryview) -> None:
        """Send a part of a body."""
        self._socket.sendall(data)

    def head(self) -> dict[str, str]:
        """Read an answer's head: its headers, with the status as ``status``."""
        data = self._left
        while b"\r\n\r\n" not in data:
            more = self._socket.recv(65_536)
            if not more:
                raise ConnectionError("the registry has ended the connection")
            data += more
        head, _, self._left = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        headers["status"] = first.split()[1]
        if headers["status"] not in ("200", "201", "202"):
            raise ConnectionError(f"{self._host} answered {first}")
        return headers

    def into(self, buffer: memoryview, left: int) -> int:
        """Read a part of a body, of which so much is left."""
        if self._left:
            part, self._left = self._left[:CHUNK], self._left[CHUNK:]
            buffer[: len(part)] = part
            return len(part)
        read = self._socket.recv_into(buffer, min(left, CHUNK))
        if not read:
            raise ConnectionError("the registry has ended the connection within a body")
        return read

    def body(self, headers: dict[str, str]) -> bytes:
        """Read a whole body."""
        left, data, buffer = int(headers.get("content-length", 0)), bytearray(), memoryview(bytearray(CHUNK))
        while left:
            read = self.into(buffer, left)
            data += buffer[:read]
            left -= read
        return bytes(data)


def copy(task: dict[str, Any]) -> None:
    """Copy the blobs, then the manifest."""
    source = Connection(task["source"], task["ca_file"])
    destination = Connection(task["destination"], task["ca_file"])
    repository = f"/v2/{task['repository']}"
    source.ask("GET", f"{repository}/manifests/{task['tag']}", {"Accept": task["media_type"]})
    manifest = source.body(source.head())
    for digest in task["blobs"]:
        _copy_blob(source, destination, repository, digest)
    destination.ask("PUT", f"{repository}/manifests/{task['tag']}", {"Content-Type": task["media_type"]}, manifest)
    destination.head()


def _copy_blob(source: Connection, destination: Connection, repository: str, digest: str) -> None:
    destination.ask("POST", f"{repository}/blobs/uploads/", {})
    session = _path(destination.head()["location"])
    source.ask("GET", f"{repository}/blobs/{digest}", {})
    left = int(source.head()["content-length"])
    destination.ask("PATCH", session, {"Content-Type": "application/octet-stream", "Content-Length": str(left)})
    hashed, buffer = hashlib.sha256(), memoryview(bytearray(CHUNK))
    while left:
        read = source.into(buffer, left)
        hashed.update(buffer[:read])
        destination.send(buffer[:read])
        left -= read
    session = _path(destination.head()["location"])
    if f"sha256:{hashed.hexdigest()}" != digest:
        raise ValueError(f"{digest} is not what came")
    destination.ask("PUT", f"{session}&digest={digest}", {})
    destination.head()


def _path(location: str) -> str:
    return "/" + location.split("/", 3)[3] if "://" in location else location


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        copy(json.load(file))
