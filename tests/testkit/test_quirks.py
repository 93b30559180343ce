"""The lasting ways of the in-process registry, and its tokens' reach."""

import json

import pytest

from testkit.images.documents import OCI_MANIFEST
from testkit.images.push import Answer, get_raw, push_blob, push_raw, request
from testkit.registries.auth import Bearer
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.quirks import Quirks
from testkit.registries.storage import digest_of

RANGED = {"Content-Range": "0-2"}


def upload(registry: FakeRegistry, method: str, headers: dict[str, str] | None = None) -> Answer:
    """Open a session and send it one request; the end of the blob for a PUT, which is a whole upload."""
    location = request("POST", registry.host, "/v2/a/app/blobs/uploads/", b"").headers["location"]
    target = location.removeprefix(registry.url)
    assert target.startswith("/v2/a/app/blobs/uploads/")
    if method == "PUT":
        target += f"{'&' if '?' in target else '?'}digest={digest_of(b'abc')}"
    return request(method, registry.host, target, b"abc" if method in ("PATCH", "PUT") else None, headers)


@pytest.mark.parametrize(
    ("quirks", "method", "status"),
    [
        (Quirks(), "PUT", 201),
        (Quirks(location="relative", state=False), "PUT", 201),
        (Quirks(patch_before_put=True), "PUT", 400),
        (Quirks(refuse_patch=405), "PATCH", 405),
        (Quirks(patch_status=204), "PATCH", 204),
        (Quirks(patch_status=201), "PATCH", 201),
        (Quirks(refuse_chunks=416), "PATCH", 416),
        (Quirks(), "DELETE", 204),
        (Quirks(cancel_status=401), "DELETE", 401),
    ],
)
def test_uploads(quirks: Quirks, method: str, status: int) -> None:
    with FakeRegistry(quirks) as registry:
        assert upload(registry, method, RANGED if quirks.refuse_chunks else None).status == status


def test_a_range_that_is_one_request_behind() -> None:
    with FakeRegistry(Quirks(stale_range=True, least_chunk=7)) as registry:
        opened = request("POST", registry.host, "/v2/a/app/blobs/uploads/", b"")
        assert opened.headers["oci-chunk-min-length"] == "7"
        target = opened.headers["location"].removeprefix(registry.url)
        assert request("PATCH", registry.host, target, b"abc").headers["range"] == "0-0"
        assert request("GET", registry.host, target).headers["range"] == "0-2"


def test_a_tag_that_is_immutable() -> None:
    with FakeRegistry(Quirks(immutable_tags=True, check_references=False)) as registry:
        for status in (201, 412):
            put = request("PUT", registry.host, "/v2/a/app/manifests/v1", b"{}", {"Content-Type": OCI_MANIFEST})
            assert put.status == status
        push_raw(registry.host, "a/app", None, b"{}", OCI_MANIFEST)


def test_a_head_that_does_not_work() -> None:
    with FakeRegistry(Quirks(manifest_head=405, blob_head=404, digest_header=False)) as registry:
        registry.image("a/app", "v1")
        digest = push_blob(registry.host, "a/app", b"layer")
        assert request("HEAD", registry.host, "/v2/a/app/manifests/v1").status == 405
        assert request("HEAD", registry.host, f"/v2/a/app/blobs/{digest}").status == 404
        assert "docker-content-digest" not in get_raw(registry.host, "a/app", "v1").headers


def test_a_mount_needs_a_token_for_its_source() -> None:
    bearer = Bearer(more_challenges=['Basic realm="people"'])
    with FakeRegistry(auth=bearer) as registry:
        digest = registry.add_blob("a/app", b"layer")
        path = f"/v2/b/app/blobs/uploads/?mount={digest}&from=a/app"
        held = {"Authorization": f"Bearer {bearer.issue({'b/app': {'pull', 'push'}})}"}
        refused = request("POST", registry.host, path, b"", held)
        challenge = refused.headers["www-authenticate"]
        assert refused.status == 401
        assert challenge.startswith('Basic realm="people", Bearer realm=')
        assert 'scope="repository:b/app:pull,push repository:a/app:pull"' in challenge
        held = {"Authorization": f"Bearer {bearer.issue({'b/app': {'pull', 'push'}, 'a/app': {'pull'}})}"}
        assert request("POST", registry.host, path, b"", held).status == 201


def test_a_token_for_the_first_scope_and_a_short_while() -> None:
    bearer = Bearer({"ferry": "secret"}, first_scope_only=True, lifetime=-1.0, expires_in=None)
    with FakeRegistry(auth=bearer) as registry:
        path = "/token?service=x&scope=repository:a/app:pull,push&scope=repository:b/app:pull"
        assert request("GET", registry.host, path).status == 401
        given = json.loads(request("GET", registry.host, path, auth=("ferry", "secret")).body)
        assert set(given) == {"token"}
        assert bearer.tokens[given["token"]].access == {"a/app": {"pull", "push"}}
        held = {"Authorization": f"Bearer {given['token']}"}
        assert request("GET", registry.host, "/v2/", headers=held).status == 401
