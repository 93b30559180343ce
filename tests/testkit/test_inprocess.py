"""The in-process registry, judged by skopeo and by plain HTTP."""

import http.client
from collections.abc import Iterator

import pytest

from testkit.images.documents import OCI_MANIFEST, Document, image_manifest, sha256
from testkit.images.making import ImageMaker
from testkit.images.push import PushError, get_raw, push_blob, push_document, push_raw, request
from testkit.images.schema1 import schema1_manifest
from testkit.images.skopeo import run_skopeo, skopeo_copy, skopeo_raw
from testkit.registries.auth import Basic, Bearer
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.quirks import Quirks
from testkit.registries.storage import Storage


@pytest.fixture
def image() -> Document:
    return image_manifest([b"a layer"])


def test_skopeo_copies_into_it_and_out_of_it(
    fake_source: FakeRegistry, fake_destination: FakeRegistry, image_maker: ImageMaker
) -> None:
    digest = image_maker.push_index(fake_source.host, "a/app", "v1")
    places = (f"docker://{fake_source.host}/a/app:v1", f"docker://{fake_destination.host}/b/app:v1")
    skopeo_copy(*places, "--all")
    assert fake_destination.digest("b/app", "v1") == digest
    assert skopeo_raw(fake_destination.host, "b/app", "v1") == fake_source.manifest("a/app", "v1")
    assert fake_destination.count("manifest-put") == 4
    assert fake_source.count("blob-get") == fake_destination.count("upload-put")


def test_its_images_are_images_to_skopeo(fake_source: FakeRegistry) -> None:
    amd64 = fake_source.image("a/app", None, [b"one", b"two"])
    arm64 = fake_source.image("a/app", None, [b"one", b"three"], "linux/arm64/v8", docker=True)
    index = fake_source.index("a/app", "v1", {"linux/amd64": amd64, "linux/arm64/v8": arm64})
    assert sha256(skopeo_raw(fake_source.host, "a/app", "v1")) == index
    assert fake_source.tags("a/app") == ["v1"]


def test_skopeo_reads_a_signed_schema_1_manifest(fake_source: FakeRegistry) -> None:
    document = schema1_manifest("old/app", "v1", [b"layer"])
    assert push_document(fake_source.host, "old/app", "v1", document) != document.digest
    assert skopeo_raw(fake_source.host, "old/app", "v1") == document.data


def test_skopeo_signs_in(image: Document) -> None:
    bearer = Bearer({"ferry": "secret"}, field_name="access_token", expires_in=None)
    for auth in (Basic({"ferry": "secret"}), bearer):
        with FakeRegistry(auth=auth) as registry:
            registry.image("a/app", "v1")
            assert skopeo_raw(registry.host, "a/app", "v1", ("ferry", "secret"))
            with pytest.raises(RuntimeError, match=r"unauthorized|authentication|401"):
                skopeo_raw(registry.host, "a/app", "v1", ("ferry", "wrong"))


def test_a_token_reaches_as_far_as_its_scopes() -> None:
    bearer = Bearer({"ferry": "secret"}, anonymous=frozenset({"pull"}), first_scope_only=True)
    with FakeRegistry(auth=bearer) as registry:
        registry.image("a/app", "v1")
        skopeo_copy(
            f"docker://{registry.host}/a/app:v1",
            f"docker://{registry.host}/b/app:v1",
            destination_auth=("ferry", "secret"),
        )
        assert registry.tags("b/app") == ["v1"]
        token = bearer.issue({"a/app": {"pull"}})
        held = {"Authorization": f"Bearer {token}"}
        assert request("GET", registry.host, "/v2/a/app/manifests/v1", headers=held).status == 200
        refused = request("GET", registry.host, "/v2/b/app/manifests/v1", headers=held)
        assert refused.status == 401
        assert 'scope="repository:b/app:pull"' in refused.headers["www-authenticate"]
        bearer.revoke_all()
        assert request("GET", registry.host, "/v2/a/app/manifests/v1", headers=held).status == 401


def test_a_refresh_token_gives_a_token() -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    with FakeRegistry(auth=Bearer(refresh_tokens={"r1": "ferry"})) as registry:
        for text, status in (("r1", 200), ("r2", 401)):
            body = f"grant_type=refresh_token&refresh_token={text}&scope=repository:a/app:pull".encode()
            assert request("POST", registry.host, "/token", body, form).status == status
        assert registry.counts() == {"token": 2}


def test_a_manifest_is_checked(fake_destination: FakeRegistry, image: Document) -> None:
    host = fake_destination.host
    with pytest.raises(PushError, match="MANIFEST_BLOB_UNKNOWN"):
        push_raw(host, "a/app", "v1", image.data, OCI_MANIFEST)
    push_document(host, "a/app", "v1", image)
    wrong = request("PUT", host, f"/v2/a/app/manifests/{sha256(b'')}", image.data, {"Content-Type": OCI_MANIFEST})
    assert (wrong.status, b"DIGEST_INVALID" in wrong.body) == (400, True)
    assert get_raw(host, "a/app", image.digest).body == image.data
    assert request("DELETE", host, f"/v2/a/app/manifests/{image.digest}").status == 202
    assert fake_destination.tags("a/app") == []


def test_tags_come_in_pages() -> None:
    with FakeRegistry(Quirks(page_size=2)) as registry:
        for number in range(5):
            registry.image("a/app", f"v{number}")
        listed = run_skopeo("list-tags", "--tls-verify=false", f"docker://{registry.host}/a/app")
        assert all(f'"v{number}"' in listed.decode() for number in range(5))
        assert registry.count("tags") == 3


def test_a_range_of_a_blob(fake_source: FakeRegistry) -> None:
    digest = fake_source.add_blob("a/app", b"0123456789")
    path = f"/v2/a/app/blobs/{digest}"
    part = request("GET", fake_source.host, path, headers={"Range": "bytes=4-"})
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"456789", "bytes 4-9/10")
    assert request("GET", fake_source.host, path, headers={"Range": "bytes=10-"}).status == 416
    assert fake_source.log.entries("blob-get")[0].bytes_out == 6


def test_a_blob_comes_in_chunks(fake_destination: FakeRegistry) -> None:
    host = fake_destination.host
    location = request("POST", host, "/v2/a/app/blobs/uploads/", b"").headers["location"]
    for start, data in ((0, b"abc"), (3, b"def")):
        headers = {"Content-Range": f"{start}-{start + 2}"}
        answer = request("PATCH", host, _target(location), data, headers)
        assert (answer.status, answer.headers["range"]) == (202, f"0-{start + 2}")
        location = answer.headers["location"]
    again = request("PATCH", host, _target(location), b"def", {"Content-Range": "3-5"})
    assert (again.status, again.headers["range"]) == (416, "0-5")
    digest = sha256(b"abcdef")
    assert request("PUT", host, f"{_target(location)}&digest={digest}", b"").status == 201
    assert fake_destination.blob("a/app", digest) == b"abcdef"


def test_a_blob_is_mounted_or_not(fake_destination: FakeRegistry) -> None:
    digest = push_blob(fake_destination.host, "a/app", b"layer")
    path = f"/v2/b/app/blobs/uploads/?mount={digest}&from=a/app"
    assert request("POST", fake_destination.host, path, b"").status == 201
    assert fake_destination.blob("b/app", digest) == b"layer"
    assert fake_destination.count("mount") == 1
    for status in (202, 401, 403, 404, 405):
        fake_destination.quirks.mount = status
        assert request("POST", fake_destination.host, path, b"").status == status


def test_uploads_go_to_another_host(image: Document) -> None:
    storage = Storage()
    with FakeRegistry(Quirks(refuse_authorization=True), storage=storage) as uploads:
        quirks = Quirks(location="other-host", location_base=uploads.url)
        with FakeRegistry(quirks, storage=storage) as registry:
            push_document(registry.host, "a/app", "v1", image)
            assert (uploads.count("upload-put"), registry.count("upload-put")) == (2, 0)


@pytest.fixture
def kept_connection(fake_source: FakeRegistry) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(fake_source.host, timeout=5)
    yield connection
    connection.close()


def test_it_goes_away_and_comes_back(fake_source: FakeRegistry, kept_connection: http.client.HTTPConnection) -> None:
    kept_connection.request("GET", "/v2/")
    assert kept_connection.getresponse().read() == b"{}"
    fake_source.drop_connections()
    kept_connection.request("GET", "/v2/")
    with pytest.raises(ConnectionError):
        kept_connection.getresponse()
    fake_source.stop()
    with pytest.raises(ConnectionRefusedError):
        request("GET", fake_source.host, "/v2/")
    fake_source.start()
    assert request("GET", fake_source.host, "/v2/").status == 200


def _target(location: str) -> str:
    return "/" + location.split("/", 3)[3]
