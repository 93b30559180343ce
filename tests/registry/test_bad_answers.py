"""What registries answer that is wrong, and the very message for it: what failed, where, why, what to do."""

import json
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import pytest

from imageferry.errors import ImageferryError
from imageferry.model import RegistryAccess
from imageferry.registry import Repository
from imageferry.registry.manifest import OCI_MANIFEST
from testkit.images.documents import sha256
from tests.registry.canned import Answer, canned
from tests.registry.opening import access

DIGEST = sha256(b"layer")
SHORT = DIGEST[7:19]
OTHER = sha256(b"{}")
READ = "cannot read manifest registry.example/a/app:v1: "
LOOK = "cannot look up manifest registry.example/a/app:v1: "
LIST = "cannot list tags of registry.example/a/app: "
LOGIN = "cannot log in to registry.example: "
SERVED = "; check that a registry is served there"
ACCOUNT = "; check the username and password for registry.example, and that the repository exists"
NOBODY = (
    "; no credentials for registry.example: give its username and password in auth, and check that the repository "
    "exists"
)
MAY = "; check that this account may do it, and quotas and policies there"
JSON = b"application/json"
HTML = b"<!DOCTYPE html><title>Sign in</title>"
PAGE = [(b"content-type", b"text/html")]
TYPED = [(b"content-type", OCI_MANIFEST.encode())]

Asking = Callable[[Repository], Coroutine[Any, Any, Any]]


def refused(status: int, code: str = "", message: str = "", *headers: tuple[bytes, bytes]) -> Answer:
    """Make an error with the body that the specification gives it."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode() if code else b""
    return status, headers, body


def leading(target: bytes, status: int = 307) -> Answer:
    """Lead elsewhere."""
    return status, [(b"location", target)], b""


def challenging(realm: bytes) -> Answer:
    """Ask for a token of that server."""
    return 401, [(b"www-authenticate", b'Bearer realm="' + realm + b'"')], b""


def linked(target: bytes) -> Answer:
    """A page of tags, and where the next one is."""
    return 200, [(b"link", b"<" + target + b'>; rel="next"')], b'{"tags": ["a"]}'


class Bad(NamedTuple):
    """What is asked, the answers in turn (the last for ever), and the whole message."""

    asking: Asking
    answers: list[Answer]
    message: str
    entry: RegistryAccess | None = None


async def read(repository: Repository) -> object:
    return await repository.manifests.get("v1")


async def read_digest(repository: Repository) -> object:
    return await repository.manifests.get(DIGEST)


async def look(repository: Repository) -> object:
    return await repository.manifests.head("v1")


async def tags(repository: Repository) -> object:
    return await repository.tags.all()


async def blob(repository: Repository) -> object:
    return await repository.blobs.read(DIGEST, 1000)


async def start(repository: Repository) -> object:
    return await repository.uploads.start(DIGEST)


USER = access("ferry", "secret")
TOKEN = challenging(b"https://tokens.example/token")

TABLE: dict[str, Bad] = {
    "not there": Bad(
        read,
        [refused(404, "MANIFEST_UNKNOWN", "manifest unknown")],
        READ + "registry.example answered 404 Not Found (MANIFEST_UNKNOWN: manifest unknown)",
    ),
    "not there, no body": Bad(read, [refused(404)], READ + "registry.example answered 404 Not Found"),
    "a name that is unknown, with 400": Bad(
        read,
        [refused(400, "NAME_UNKNOWN", "no such name")],
        READ + "registry.example answered 400 Bad Request (NAME_UNKNOWN: no such name)",
    ),
    "a name that is unknown, with 500": Bad(
        read,
        [refused(500, "NAME_UNKNOWN", "no such name")],
        READ + "registry.example answered 500 Internal Server Error (NAME_UNKNOWN: no such name)",
    ),
    "who are you": Bad(read, [refused(401)], READ + "registry.example answered 401 Unauthorized" + NOBODY),
    "who are you, who has said it": Bad(
        read, [refused(401)], READ + "registry.example answered 401 Unauthorized" + ACCOUNT, USER
    ),
    "you may not": Bad(
        read,
        [refused(403, "DENIED", "denied")],
        READ + "registry.example answered 403 Forbidden (DENIED: denied)" + MAY,
    ),
    "quota": Bad(
        start,
        [refused(403, "DENIED", "adding 5 MiB exceeds the quota of 1 GiB")],
        f"cannot start the upload of blob {SHORT} to registry.example/a/app: registry.example answered 403 Forbidden "
        "(DENIED: adding 5 MiB exceeds the quota of 1 GiB)" + MAY,
    ),
    "policy": Bad(
        read,
        [refused(412, "PROJECTPOLICYVIOLATION", "current image with 7 vulnerabilities")],
        READ + "registry.example answered 412 Precondition Failed "
        "(PROJECTPOLICYVIOLATION: current image with 7 vulnerabilities)",
    ),
    "too many": Bad(
        read,
        [refused(429, "TOOMANYREQUESTS", "slow down")],
        READ + "registry.example answered 429 Too Many Requests (TOOMANYREQUESTS: slow down); "
        "its request limit is reached: try later or with an account",
    ),
    "busy": Bad(read, [refused(503)], READ + "registry.example answered 503 Service Unavailable"),
    "a gateway's page": Bad(read, [(502, PAGE, HTML)], READ + "registry.example answered 502 Bad Gateway"),
    "too large": Bad(read, [refused(413)], READ + "registry.example answered 413 Request Entity Too Large"),
    "a status of no kind": Bad(read, [(299, [], b"")], READ + "registry.example answered 299, expected 200" + SERVED),
    "nothing new": Bad(read, [(304, [], b"")], READ + "registry.example answered 304, expected 200" + SERVED),
    "nowhere": Bad(read, [(302, [], b"")], READ + "registry.example answered 302, expected 200" + SERVED),
    "two errors": Bad(
        read,
        [(400, [], b'{"errors": [{"code": "A", "message": "x"}, {"code": "B"}, {"message": "z"}]}')],
        READ + "registry.example answered 400 Bad Request (A: x; B; z)",
    ),
    "an error that writes to the terminal": Bad(
        read,
        [refused(403, "DENIED\x1b]0;x\x07", "a\r\nb\u202e\u2028\ud800")],
        READ + "registry.example answered 403 Forbidden (DENIED\\x1b]0;x\\x07: a\\r\\nb\\u202e\\u2028\\ud800)" + MAY,
    ),
    "an error in Chinese": Bad(
        read,
        [refused(403, "DENIED", "没有权限　请登录")],
        READ + "registry.example answered 403 Forbidden (DENIED: 没有权限　请登录)" + MAY,
    ),
    "an error that is none": Bad(read, [(400, [], b"[" * 9999)], READ + "registry.example answered 400 Bad Request"),
    "a page for people": Bad(read, [(200, PAGE, HTML)], READ + "registry.example gave no manifest" + SERVED),
    "a manifest of nothing": Bad(read, [(200, [], b"{}")], READ + "registry.example gave no manifest" + SERVED),
    "a type that is none": Bad(
        read,
        [(200, [(b"content-type", b"a b")], b"{}")],
        READ + "registry.example gave the media type 'a b', which is none; the image is damaged or hostile",
    ),
    "a type of two lines": Bad(
        read,
        [(200, [], b'{"mediaType": "a/b\\r\\nX-Evil: 1"}')],
        READ + "registry.example gave the media type 'a/b\\r\\nX-Evil: 1', which is none; "
        "the image is damaged or hostile",
    ),
    "a manifest of 5 MiB": Bad(
        read, [(200, TYPED, b" " * 5_242_880)], READ + "registry.example answers with more than 4,194,304 bytes"
    ),
    "other bytes": Bad(
        read_digest,
        [(200, TYPED, b"{}")],
        f"cannot read manifest registry.example/a/app@{DIGEST}: registry.example gave other bytes: "
        f"they hash to {OTHER}",
    ),
    "a look that is refused": Bad(look, [refused(403)], LOOK + "registry.example answered 403 Forbidden" + MAY),
    "tags: a page": Bad(tags, [(200, PAGE, HTML)], LIST + "registry.example gave no list of tags" + SERVED),
    "tags: no list": Bad(tags, [(200, [], b'{"tags": 5}')], LIST + "registry.example gave no list of tags" + SERVED),
    "tags: not text": Bad(tags, [(200, [], b'{"tags": [5]}')], LIST + "registry.example gave no list of tags" + SERVED),
    "tags: no such repository": Bad(
        tags,
        [refused(404, "NAME_UNKNOWN", "repository name not known to registry")],
        LIST + "registry.example answered 404 Not Found (NAME_UNKNOWN: repository name not known to registry)",
    ),
    "tags: a port that is none": Bad(
        tags, [linked(b"http://h:port/")], LIST + "the next page is at 'http://h:port/', which is not an address"
    ),
    "tags: a path that is none": Bad(
        tags, [linked(b"https://h//x")], LIST + "the next page is at 'https://h//x', which is not an address"
    ),
    "redirects without end": Bad(read, [leading(b"/x")], READ + "registry.example redirects without end"),
    "a redirect to a name that is none": Bad(
        read,
        [leading(b"https://xn--99999999/")],
        READ + "registry.example leads to an address that is none: Invalid A-label",
    ),
    "a redirect to the metadata": Bad(
        blob,
        [leading(b"http://169.254.169.254/latest")],
        "cannot follow registry.example: it leads to 169.254.169.254, inside this machine's network",
    ),
    "a redirect to this machine": Bad(
        blob,
        [leading(b"http://127.0.0.1:8080/x")],
        "cannot follow registry.example: it leads to 127.0.0.1, inside this machine's network",
    ),
    "a blob that is longer": Bad(
        blob,
        [(200, [], b"x" * 2000)],
        f"cannot read blob {SHORT} of registry.example/a/app: registry.example answers with more than 1,000 bytes",
    ),
    "a blob that is not there": Bad(
        blob,
        [refused(404, "BLOB_UNKNOWN")],
        f"cannot read blob {SHORT} of registry.example/a/app: registry.example answered 404 Not Found (BLOB_UNKNOWN)",
    ),
    "an upload without an address": Bad(
        start,
        [(202, [], b"")],
        f"cannot start the upload of blob {SHORT} to registry.example/a/app: the registry opened a session without an "
        "address ('')",
    ),
    "an upload that is none": Bad(
        start,
        [(200, PAGE, HTML)],
        f"cannot start the upload of blob {SHORT} to registry.example/a/app: registry.example answered 200, "
        "expected 202" + SERVED,
    ),
    "a project that is missing": Bad(
        start,
        [refused(404, "NOT_FOUND", "project a not found")],
        f"cannot start the upload of blob {SHORT} to registry.example/a/app: registry.example answered 404 Not Found "
        "(NOT_FOUND: project a not found); its repository or project must be created there first",
    ),
    "a realm that is a file": Bad(
        look,
        [challenging(b"file:///etc/passwd")],
        LOGIN + "its token server 'file:///etc/passwd' is not an http or https address",
        USER,
    ),
    "a realm that is a path": Bad(
        look,
        [challenging(b"/token")],
        LOGIN + "its token server '/token' is not an http or https address",
        USER,
    ),
    "a realm with a port that is none": Bad(
        look,
        [challenging(b"https://t:port/")],
        LOGIN + "its token server 'https://t:port/' is not an address",
        USER,
    ),
    "a realm with a name that is none": Bad(
        look,
        [challenging(b"https://xn--99999999/")],
        LOGIN + "its token server 'https://xn--99999999/' is not an address",
        USER,
    ),
    "a realm at the metadata": Bad(
        look,
        [challenging(b"https://169.254.169.254/t")],
        LOGIN + "its token server 'https://169.254.169.254/t' is an address inside this machine's network",
        USER,
    ),
    "a realm in the clear": Bad(
        look,
        [challenging(b"http://tokens.example/t")],
        LOGIN + "its token server 'http://tokens.example/t' would get the password without TLS; "
        "set insecure: true for it in auth if its network is your own",
        access("ferry", "secret", insecure=False),
    ),
    "a wrong password": Bad(
        look,
        [TOKEN, refused(401, "UNAUTHORIZED", "incorrect username or password")],
        LOGIN + "tokens.example answered 401 Unauthorized (UNAUTHORIZED: incorrect username or password); "
        "check its username and password",
        USER,
    ),
    "a wrong password of nobody": Bad(
        look,
        [TOKEN, refused(401, "UNAUTHORIZED", "authentication required")],
        LOGIN + "tokens.example answered 401 Unauthorized (UNAUTHORIZED: authentication required) to an anonymous "
        "request; no credentials for registry.example: give its username and password in auth",
    ),
    **{
        f"a token server that says {body!r}": Bad(
            look,
            [TOKEN, (401, [(b"content-type", kind)], body)],
            LOGIN + f"tokens.example answered 401 Unauthorized{said}; check its username and password",
            USER,
        )
        for kind, body, said in (
            (JSON, b'{"details": "incorrect username or password"}', " (incorrect username or password)"),
            (JSON, b'{"detail": "no such user"}', " (no such user)"),
            (JSON, b'{"message": "token expired"}', " (token expired)"),
            (JSON, b'{"error": "invalid_grant", "error_description": "gone"}', " (invalid_grant: gone)"),
            (JSON, b'{"error": {"code": "DENIED", "message": "who?"}}', " (DENIED: who?)"),
            (JSON, b'{"errors": "a list of one"}', " (a list of one)"),
            (JSON, b'{"errors": [5, {"message": "two"}]}', " (two)"),
            (JSON, b'{"error": 5, "details": [1]}', ""),
            (JSON, b'"text"', ""),
            (b"text/plain; charset=utf-8", b"Invalid username\n", " (Invalid username)"),
            (b"text/plain", b"x" * 9999, " (" + "x" * 500 + ")"),
            (b"text/html", HTML, ""),
        )
    },
    "a store that refuses": Bad(
        blob,
        [leading(b"https://store.example:8443/x?sig=a"), (403, [], b"<Error>SignatureDoesNotMatch</Error>")],
        f"cannot read blob {SHORT} of registry.example/a/app: store.example:8443, to which registry.example leads, "
        "answered 403 Forbidden; the credentials for registry.example are not sent there",
        USER,
    ),
    "a store that is lost": Bad(
        blob,
        [leading(b"https://store.example/x"), refused(404)],
        f"cannot read blob {SHORT} of registry.example/a/app: store.example, to which registry.example leads, "
        "answered 404 Not Found",
    ),
    "another registry that wants a login": Bad(
        read,
        [leading(b"https://other.example/v2/a/app/manifests/v1"), refused(401)],
        READ + "other.example, to which registry.example leads, answered 401 Unauthorized; the credentials for "
        "registry.example are not sent there",
        USER,
    ),
    "a page elsewhere": Bad(
        read,
        [leading(b"https://other.example/"), (204, [], b"")],
        READ + "other.example, to which registry.example leads, answered 204, expected 200" + SERVED,
    ),
    "no token": Bad(look, [TOKEN, (200, [], b"{}")], LOGIN + "the token server tokens.example gave no token", USER),
    "a token of two lines": Bad(
        look,
        [TOKEN, (200, [], b'{"token": "a\\r\\nb"}')],
        LOGIN + "the token server tokens.example gave no token",
        USER,
    ),
    "a token server that is busy": Bad(
        look, [TOKEN, refused(503)], LOGIN + "tokens.example answered 503 Service Unavailable", USER
    ),
    "a token server that passes the token on": Bad(
        look,
        [TOKEN, leading(b"https://thief.example/")],
        "cannot log in to registry.example: its token server https://tokens.example sends the identity token on to "
        "https://thief.example",
        access(identity_token="long-lived"),
    ),
    "a token that does not reach": Bad(
        look,
        [TOKEN, (200, [], b'{"token": "t"}'), TOKEN],
        LOOK + "registry.example answered 401 Unauthorized" + ACCOUNT,
        USER,
    ),
}


@pytest.mark.parametrize("bad", TABLE.values(), ids=TABLE.keys())
async def test_a_bad_answer_is_told_in_these_words(bad: Bad) -> None:
    coming = iter(bad.answers[:-1])
    async with canned(lambda request: next(coming, bad.answers[-1]), bad.entry) as (repository, _):
        with pytest.raises(ImageferryError) as told:
            await bad.asking(repository)
    assert str(told.value) == bad.message
    assert "secret" not in str(told.value)
    assert "long-lived" not in str(told.value)
