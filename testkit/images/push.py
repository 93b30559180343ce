"""Putting blobs and manifests to a registry over plain HTTP, byte by byte."""

import base64
import http.client
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from testkit.images.documents import Document, sha256

Auth = tuple[str, str]


class PushError(RuntimeError):
    """A registry answered otherwise than it should."""


@dataclass(frozen=True)
class Answer:
    """An answer to one request; the names of headers are in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(
    method: str,
    host: str,
    target: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    auth: Auth | None = None,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """Send one request; over TLS where a context is given."""
    sent = dict(headers or {})
    if auth is not None:
        sent["Authorization"] = "Basic " + base64.b64encode(":".join(auth).encode()).decode()
    connection = (
        http.client.HTTPConnection(host, timeout=30)
        if context is None
        else http.client.HTTPSConnection(host, timeout=30, context=context)
    )
    try:
        connection.request(method, target, body=body, headers=sent)
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, response.read())
    finally:
        connection.close()


def push_blob(
    host: str, repository: str, data: bytes, auth: Auth | None = None, context: ssl.SSLContext | None = None
) -> str:
    """Put a blob with a POST and a PUT, and return its digest."""
    digest = sha256(data)
    started = _expect(202, request("POST", host, f"/v2/{repository}/blobs/uploads/", b"", {}, auth, context))
    where = urlsplit(started.headers["location"])
    target = f"{where.path}?{where.query}{'&' if where.query else ''}digest={digest}"
    headers = {"Content-Type": "application/octet-stream"}
    _expect(201, request("PUT", where.netloc or host, target, data, headers, auth, context))
    return digest


def push_raw(
    host: str,
    repository: str,
    tag: str | None,
    data: bytes,
    media_type: str,
    auth: Auth | None = None,
    context: ssl.SSLContext | None = None,
) -> str:
    """Put a manifest just as it is, by tag or (None) by digest; return the digest that the registry tells."""
    target = f"/v2/{repository}/manifests/{tag or sha256(data)}"
    put = _expect(201, request("PUT", host, target, data, {"Content-Type": media_type}, auth, context))
    return put.headers.get("docker-content-digest", sha256(data))


def push_document(
    host: str,
    repository: str,
    tag: str | None,
    document: Document,
    auth: Auth | None = None,
    context: ssl.SSLContext | None = None,
) -> str:
    """Put a manifest and, before it, its blobs."""
    for blob in document.blobs:
        push_blob(host, repository, blob, auth, context)
    return push_raw(host, repository, tag, document.data, document.media_type, auth, context)


def get_raw(
    host: str,
    repository: str,
    reference: str,
    accept: tuple[str, ...] = ("*/*",),
    auth: Auth | None = None,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """Get a manifest just as it is: `.body`, and its type in `.headers["content-type"]`."""
    headers = {"Accept": ", ".join(accept)}
    return _expect(200, request("GET", host, f"/v2/{repository}/manifests/{reference}", None, headers, auth, context))


def _expect(status: int, answer: Answer) -> Answer:
    if answer.status != status:
        raise PushError(f"{answer.status} instead of {status}: {answer.body.decode('utf-8', 'replace')[:500]}")
    return answer
