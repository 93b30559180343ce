"""What the in-process registry can be told to do wrong, seen by a plain HTTP client."""

import asyncio
import http.client
import ssl
import time
from pathlib import Path

import httpx
import pytest

from testkit.images.push import push_blob, request
from testkit.registries import actions
from testkit.registries.auth import Bearer
from testkit.registries.certificates import Authority
from testkit.registries.fault_rules import Action, Fault, Match
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.quirks import Quirks
from testkit.registries.storage import digest_of

BLOB = bytes(range(256)) * 4096


@pytest.fixture
def path(fake_source: FakeRegistry) -> str:
    return f"/v2/a/app/blobs/{fake_source.add_blob('a/app', BLOB)}"


def test_a_rule_holds_for_its_times(fake_source: FakeRegistry, path: str) -> None:
    fake_source.rules.append(Fault("blob-get", actions.too_many(7), times=2, skip=1))
    statuses = [request("GET", fake_source.host, path).status for _ in range(5)]
    assert statuses == [200, 429, 429, 200, 200]
    assert [entry.status for entry in fake_source.log] == statuses


def test_rules_are_nested(fake_source: FakeRegistry, path: str) -> None:
    fake_source.rules.append(Fault(Match(method="GET", path="blobs"), actions.wrong_digest()))
    fake_source.rules.append(Fault(None, actions.corrupt(3)))
    answer = request("GET", fake_source.host, path)
    assert answer.headers["docker-content-digest"].endswith(":" + "0" * 64)
    assert [at for at in range(10) if answer.body[at] != BLOB[at]] == [3]


def test_a_body_is_cut_short(fake_source: FakeRegistry, path: str) -> None:
    fake_source.rules.append(Fault("blob-get", actions.truncate(300_000), times=1))
    with pytest.raises(http.client.IncompleteRead) as cut:
        request("GET", fake_source.host, path)
    assert cut.value.partial == BLOB[:300_000]
    assert fake_source.log[0].bytes_out == 300_000
    assert request("GET", fake_source.host, path).body == BLOB


@pytest.mark.parametrize("action", [actions.reset_after(1000), actions.hang_up("reset")])
def test_a_connection_is_reset(fake_source: FakeRegistry, path: str, action: Action) -> None:
    fake_source.rules.append(Fault("blob-get", action))
    with pytest.raises(ConnectionResetError):
        request("GET", fake_source.host, path)


def test_a_connection_is_closed_without_an_answer(fake_source: FakeRegistry, path: str) -> None:
    fake_source.rules.append(Fault("blob-get", actions.hang_up()))
    with pytest.raises(http.client.RemoteDisconnected):
        request("GET", fake_source.host, path)
    assert fake_source.log[0].status == 0


def test_a_body_stalls(fake_source: FakeRegistry, path: str) -> None:
    fake_source.rules.append(Fault("blob-get", actions.stall_after(1000)))
    connection = http.client.HTTPConnection(fake_source.host, timeout=0.2)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.read(1000) == BLOB[:1000]
    with pytest.raises(TimeoutError):
        response.read(1)
    connection.close()
    response.close()


def test_a_body_comes_slowly(fake_source: FakeRegistry, path: str) -> None:
    fake_source.rules.append(Fault("blob-get", actions.slowly(len(BLOB) * 5)))
    started = time.monotonic()
    assert request("GET", fake_source.host, path).body == BLOB
    assert time.monotonic() - started >= 0.2


def test_a_store_of_blobs_refuses_authorization(fake_source: FakeRegistry, path: str) -> None:
    with FakeRegistry(Quirks(refuse_authorization=True), storage=fake_source.storage) as store:
        fake_source.rules.append(Fault("blob-get", actions.redirect(store.url)))
        location = request("GET", fake_source.host, path).headers["location"]
        target = location.removeprefix(store.url)
        assert request("GET", store.host, target).body == BLOB
        assert request("GET", store.host, target, auth=("ferry", "secret")).status == 400


@pytest.mark.parametrize(("quirk", "status"), [("keep", 204), ("drop", 404)])
def test_a_broken_upload(fake_destination: FakeRegistry, quirk: str, status: int) -> None:
    fake_destination.quirks.broken_patch = "keep" if quirk == "keep" else "drop"
    fake_destination.rules.append(Fault("upload-patch", actions.hang_up_reading(400_000)))
    location = request("POST", fake_destination.host, "/v2/a/app/blobs/uploads/", b"").headers["location"]
    target = location.removeprefix(fake_destination.url)
    with pytest.raises(ConnectionError):
        request("PATCH", fake_destination.host, target, BLOB)
    found = request("GET", fake_destination.host, target)
    assert (found.status, found.headers.get("range")) == (status, "0-399999" if quirk == "keep" else None)


def test_an_upload_that_is_refused_before_its_end(fake_destination: FakeRegistry) -> None:
    fake_destination.quirks.quota = 10
    fake_destination.rules.append(Fault("upload-patch", actions.refuse(413, "SIZE_INVALID")))
    location = request("POST", fake_destination.host, "/v2/a/app/blobs/uploads/", b"").headers["location"]
    target = location.removeprefix(fake_destination.url)
    assert request("PATCH", fake_destination.host, target, BLOB).status == 413
    refused = request("PUT", fake_destination.host, f"{target}&digest={digest_of(BLOB)}", BLOB)
    assert (refused.status, b"quota" in refused.body) == (403, True)


def test_a_session_wants_its_newest_state(fake_destination: FakeRegistry) -> None:
    location = request("POST", fake_destination.host, "/v2/a/app/blobs/uploads/", b"").headers["location"]
    target = location.removeprefix(fake_destination.url)
    assert request("PATCH", fake_destination.host, target, b"abc").status == 202
    assert request("PUT", fake_destination.host, f"{target}&digest={digest_of(b'abc')}", b"").status == 400


def test_tokens_that_are_revoked_in_mid_run() -> None:
    bearer = Bearer()
    with FakeRegistry(auth=bearer) as registry:
        registry.image("a/app", "v1")
        registry.rules.append(Fault("manifest-get", actions.run_first(bearer.revoke_all), times=1, skip=1))
        held = {"Authorization": f"Bearer {bearer.issue({'a/app': {'pull'}})}"}
        statuses = [request("GET", registry.host, "/v2/a/app/manifests/v1", None, held).status for _ in range(2)]
        assert statuses == [200, 401]


@pytest.mark.parametrize(
    ("quirks", "name", "status", "part"),
    [
        (Quirks(unknown_name=500), "b/app", 500, b"NAME_UNKNOWN"),
        (Quirks(tags_null=True), "a/app", 200, b'"tags": null'),
    ],
)
def test_tags_of_nothing(quirks: Quirks, name: str, status: int, part: bytes) -> None:
    with FakeRegistry(quirks) as registry:
        registry.storage.repository("a/app")
        answer = request("GET", registry.host, f"/v2/{name}/tags/list")
        assert (answer.status, part in answer.body) == (status, True)


def test_the_link_to_the_next_page() -> None:
    with FakeRegistry(Quirks(page_size=1)) as registry:
        registry.image("a/app", "v1")
        registry.image("a/app", "v2")
        for style, start in (
            ("relative", "</v2/"),
            ("absolute", f"<{registry.url}/v2/"),
            ("other-scheme", "<https://"),
        ):
            registry.quirks.link = style  # type: ignore[assignment]
            assert request("GET", registry.host, "/v2/a/app/tags/list?n=9").headers["link"].startswith(start)
        registry.quirks.link = "loop"
        assert request("GET", registry.host, "/v2/a/app/tags/list?last=v2").headers["link"] == (
            '</v2/a/app/tags/list?last=v2>; rel="next"'
        )


def test_the_log_knows_how_many_were_under_way(fake_source: FakeRegistry) -> None:
    push_blob(fake_source.host, "a/app", b"layer")
    assert fake_source.peak() == 1
    assert fake_source.counts() == {"upload-start": 1, "upload-put": 1}
    assert fake_source.log.entries("upload-put")[0].bytes_in == 5


def test_tls_and_a_cut_in_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    with FakeRegistry(tls=authority.server().server_context()) as registry:
        path = f"/v2/a/app/blobs/{registry.add_blob('a/app', BLOB)}"
        assert request("GET", registry.host, path, context=context).body == BLOB
        for action in (actions.truncate(300_000), actions.reset_after(300_000)):
            registry.rules[:] = [Fault("blob-get", action)]
            # Python's TLS sockets may tell a reset as an end.
            with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
                request("GET", registry.host, path, context=context)


def test_a_fault_of_its_own_is_not_kept_secret() -> None:
    def fail() -> None:
        raise LookupError("a test's own mistake")

    registry = FakeRegistry()
    registry.rules.append(Fault("ping", actions.run_first(fail)))
    registry.start()
    assert request("GET", registry.host, "/v2/").status == 500
    with pytest.raises(LookupError):
        registry.__exit__(None, None, None)


async def test_many_requests_at_once(fake_source: FakeRegistry) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-head", actions.delay(0.05)))
    async with httpx.AsyncClient(base_url=fake_source.url) as client:
        answers = await asyncio.gather(*(client.head("/v2/a/app/manifests/v1") for _ in range(50)))
    assert {answer.headers["docker-content-digest"] for answer in answers} == {fake_source.digest("a/app", "v1")}
    assert fake_source.peak("manifest-head") > 10
