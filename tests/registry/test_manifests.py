"""Manifests of one repository: asked for, read, put."""

import gzip
import hashlib
import json
import tracemalloc

import pytest

from imageferry.registry import Manifest, RegistryError
from imageferry.registry.errors import (
    DigestMismatch,
    Forbidden,
    InvalidResponse,
    NotFound,
    RequestRejected,
    Unavailable,
)
from imageferry.registry.manifest import MANIFEST_LIMIT, OBJECTS_LIMIT
from imageferry.registry.manifests import StoredManifest
from testkit.images.documents import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    OCI_INDEX,
    OCI_MANIFEST,
    image_manifest,
)
from testkit.images.raw import gzip_layer
from testkit.images.schema1 import schema1_manifest
from testkit.registries import actions
from testkit.registries.fault_rules import Fault, Match
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.quirks import Quirks
from tests.registry.opening import opened

ZEROS = "sha256:" + "0" * 64


async def test_a_tag_is_described_with_one_head(fake_source: FakeRegistry) -> None:
    digest = fake_source.image("a/app", "v1", docker=True)
    async with opened(fake_source.host) as repository:
        found = await repository.manifests.head("v1")
    assert found is not None
    data = fake_source.manifest("a/app", "v1") or b""
    assert (found.digest, found.media_type, found.size) == (digest, DOCKER_MANIFEST, len(data))
    assert (fake_source.count("manifest-head"), fake_source.count("manifest-get")) == (1, 0)


async def test_what_is_not_there_is_none(fake_source: FakeRegistry) -> None:
    fake_source.image("a/app", "v1")
    async with opened(fake_source.host) as repository:
        assert await repository.manifests.head("v2") is None
        with pytest.raises(NotFound, match=r"a/app:v2.*404"):
            await repository.manifests.get("v2")
    assert fake_source.count("manifest-head") == 1


@pytest.mark.parametrize("quirks", [Quirks(digest_header=False), Quirks(manifest_head=405)])
async def test_a_head_without_a_digest_is_made_good_with_a_get(quirks: Quirks) -> None:
    with FakeRegistry(quirks) as registry:
        digest = registry.image("a/app", "v1")
        async with opened(registry.host) as repository:
            found = await repository.manifests.head("v1")
            assert found is not None
            assert found.digest == digest
            if quirks.manifest_head is None:
                assert await repository.manifests.head("v2") is None


async def test_the_bytes_count_and_not_the_header(fake_source: FakeRegistry) -> None:
    digest = fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-get", actions.wrong_digest(ZEROS)))
    async with opened(fake_source.host) as repository:
        assert (await repository.manifests.get("v1")).digest == digest
        assert (await repository.manifests.get(digest)).digest == digest


async def test_other_bytes_than_the_digest_names_are_refused(fake_source: FakeRegistry) -> None:
    digest = fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-get", actions.corrupt(5)))
    async with opened(fake_source.host) as repository:
        with pytest.raises(DigestMismatch, match=digest):
            await repository.manifests.get(digest)


@pytest.mark.parametrize("header", ["md5:abc", "sha256:../../x", "md5:" + "a" * 32, "sha256:" + "A" * 64])
async def test_a_digest_header_that_is_none_counts_as_not_given(fake_source: FakeRegistry, header: str) -> None:
    digest = fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-head", actions.wrong_digest(header)))
    async with opened(fake_source.host) as repository:
        found = await repository.manifests.head("v1")
    assert found is not None
    assert found.digest == digest
    assert fake_source.count("manifest-get") == 1


async def test_a_digest_header_in_quotes_is_read(fake_source: FakeRegistry) -> None:
    digest = fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-head", actions.wrong_digest(f'"{digest}"')))
    async with opened(fake_source.host) as repository:
        found = await repository.manifests.head("v1")
    assert found is not None
    assert found.digest == digest
    assert fake_source.count("manifest-get") == 0


async def test_every_type_is_accepted_by_name(fake_source: FakeRegistry) -> None:
    fake_source.image("a/app", "v1")
    async with opened(fake_source.host) as repository:
        await repository.manifests.head("v1")
        await repository.manifests.get("v1")
    for entry in fake_source.log.entries("manifest-head", "manifest-get"):
        accepted = entry.headers["accept"].split(", ")
        assert {DOCKER_SCHEMA1, DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX} <= set(accepted)
        assert entry.headers["accept-encoding"] == "identity"


async def test_a_manifest_is_read_up_to_4_mib_and_no_further(fake_source: FakeRegistry) -> None:
    def padded(size: int) -> bytes:
        head = json.dumps({"schemaVersion": 2, "layers": []}).encode()
        return head + b" " * (size - len(head))

    fake_source.add_manifest("a/app", "most", padded(MANIFEST_LIMIT), OCI_MANIFEST)
    fake_source.add_manifest("a/app", "more", padded(MANIFEST_LIMIT + 1), OCI_MANIFEST)
    # Of this one no more comes than a little over the bound: who reads on waits for ever.
    fake_source.add_manifest("a/app", "huge", padded(3 * MANIFEST_LIMIT), OCI_MANIFEST)
    fake_source.rules.append(Fault(Match("manifest-get", path="huge"), actions.stall_after(MANIFEST_LIMIT + 2**21)))
    async with opened(fake_source.host) as repository:
        assert len((await repository.manifests.get("most")).body) == MANIFEST_LIMIT
        with pytest.raises(InvalidResponse, match=r"a/app:more.*4,194,304"):
            await repository.manifests.get("more")
        with pytest.raises(InvalidResponse, match="4,194,304"):
            await repository.manifests.get("huge")


async def test_a_page_for_people_is_no_manifest(fake_source: FakeRegistry) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault(None, actions.html()))
    async with opened(fake_source.host) as repository:
        with pytest.raises(InvalidResponse, match=r"a/app:v1|sha256"):
            await repository.manifests.get("v1")
        with pytest.raises(InvalidResponse):
            await repository.manifests.head("v1")


@pytest.mark.parametrize("media_type", ["application/json", "application/octet-stream", "text/plain; charset=utf-8"])
async def test_a_type_that_says_nothing_is_found_in_the_manifest(fake_source: FakeRegistry, media_type: str) -> None:
    fake_source.image("a/app", "v1", docker=True)
    fake_source.rules.append(Fault("manifest-get", actions.with_header("Content-Type", media_type)))
    async with opened(fake_source.host) as repository:
        assert (await repository.manifests.get("v1")).media_type == DOCKER_MANIFEST


async def test_the_digest_of_a_signed_schema_1_manifest_is_its_payloads(fake_source: FakeRegistry) -> None:
    document = schema1_manifest("a/app", "v1", [gzip_layer({"a": b"b"})])
    digest = fake_source.add_manifest("a/app", "v1", document.data, document.media_type)
    async with opened(fake_source.host) as repository:
        found = await repository.manifests.get("v1")
        assert (await repository.manifests.get(digest)).body == document.data
    assert digest != document.digest
    assert (found.digest, found.body) == (digest, document.data)


async def test_a_digest_of_sha512(fake_source: FakeRegistry) -> None:
    data = image_manifest([b"layer"]).data
    digest = "sha512:" + hashlib.sha512(data).hexdigest()
    fake_source.add_manifest("a/app", None, data, OCI_MANIFEST, digest)
    async with opened(fake_source.host) as repository:
        assert (await repository.manifests.get(digest)).digest == digest


async def test_the_bytes_and_the_type_are_put_as_they_are(fake_destination: FakeRegistry) -> None:
    fake_destination.quirks.check_references = False
    body = b'\t{"schemaVersion" : 2,\n "mediaType":"application/vnd.example+json", "x": 1.50 }\n'
    async with opened(fake_destination.host, writable=True) as repository:
        await repository.manifests.put("v1", Manifest.of(body, "application/vnd.example+json"))
    assert fake_destination.manifest("a/app", "v1") == body
    assert fake_destination.media_type("a/app", "v1") == "application/vnd.example+json"


async def test_a_put_that_is_refused_is_told_as_the_registry_says_it(fake_destination: FakeRegistry) -> None:
    fake_destination.quirks.check_references = False
    fake_destination.quirks.immutable_tags = True
    async with opened(fake_destination.host, writable=True) as repository:
        await repository.manifests.put("v1", Manifest.of(image_manifest([]).data, OCI_MANIFEST))
        with pytest.raises(RequestRejected, match=r"412.*tag v1 is immutable") as told:
            await repository.manifests.put("v1", Manifest.of(image_manifest([b"other"]).data, OCI_MANIFEST))
    assert not told.value.transient
    assert fake_destination.count("manifest-put") == 2


@pytest.mark.parametrize("faults", [[], [Fault("manifest-put", actions.hang_up(done=True), times=1)]])
async def test_an_immutable_tag_that_is_right_already_is_well(
    fake_destination: FakeRegistry, faults: list[Fault]
) -> None:
    fake_destination.quirks.immutable_tags = True
    fake_destination.quirks.check_references = False
    fake_destination.rules.extend(faults)
    manifest = Manifest.of(image_manifest([]).data, OCI_MANIFEST)
    async with opened(fake_destination.host, writable=True) as repository:
        for _ in range(2):
            await repository.manifests.put("v1", manifest)
    assert fake_destination.digest("a/app", "v1") == manifest.digest


async def test_words_of_a_registry_cannot_write_to_the_terminal(fake_source: FakeRegistry) -> None:
    fake_source.rules.append(Fault(None, actions.refuse(403, "DENIED", "no\x1b[2J\u202e" + "x" * 9999)))
    async with opened(fake_source.host) as repository:
        with pytest.raises(RegistryError) as told:
            await repository.manifests.get("v1")
    assert "no\\x1b[2J\\u202e" in str(told.value)
    assert len(str(told.value)) < 1000


async def test_a_compressed_answer_does_not_grow_without_bound(fake_source: FakeRegistry) -> None:
    bomb = gzip.compress(bytes(96 * 1024 * 1024), 9)
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-get", actions.replace_body(bomb, {"Content-Encoding": "gzip"})))
    async with opened(fake_source.host) as repository:
        tracemalloc.start()
        try:
            with pytest.raises(RegistryError):
                await repository.manifests.get("v1")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 40 * 1024 * 1024


async def test_a_compressed_answer_is_undone_where_it_is_small(fake_source: FakeRegistry) -> None:
    digest = fake_source.image("a/app", "v1")
    packed = gzip.compress(fake_source.manifest("a/app", "v1") or b"")
    fake_source.rules.append(Fault("manifest-get", actions.replace_body(packed, {"Content-Encoding": "gzip"})))
    async with opened(fake_source.host) as repository:
        assert (await repository.manifests.get("v1")).digest == digest


async def test_a_registry_that_is_busy_may_heal(fake_source: FakeRegistry) -> None:
    fake_source.rules.append(Fault(None, actions.refuse(503, "UNAVAILABLE")))
    async with opened(fake_source.host) as repository:
        with pytest.raises(Unavailable) as told:
            await repository.manifests.get("v1")
    assert told.value.transient


INDEX = b'{"schemaVersion": 2, "manifests": []}'
IMAGE = b'{"schemaVersion": 2, "config": {}, "layers": []}'
EXAMPLE = "application/vnd.example+json"


@pytest.mark.parametrize(
    ("given", "body", "media_type", "is_index"),
    [
        # By its form, where the header names another kind of manifest or none.
        (OCI_MANIFEST, INDEX, OCI_INDEX, True),
        (DOCKER_SCHEMA1, INDEX, OCI_INDEX, True),
        ("binary/octet-stream", INDEX, OCI_INDEX, True),
        ("", INDEX, OCI_INDEX, True),
        (OCI_INDEX, IMAGE, OCI_MANIFEST, False),
        ("binary/octet-stream", IMAGE, OCI_MANIFEST, False),
        (OCI_MANIFEST, b'{"schemaVersion": 1, "fsLayers": [], "signatures": []}', DOCKER_SCHEMA1, False),
        # By its mediaType.
        (OCI_MANIFEST, b'{"mediaType": "%s", "manifests": []}' % DOCKER_LIST.encode(), DOCKER_LIST, True),
        (OCI_INDEX, b'{"mediaType": "%s", "manifests": []}' % DOCKER_LIST.encode(), DOCKER_LIST, True),
        ("binary/octet-stream", b'{"mediaType": "%s"}' % DOCKER_MANIFEST.encode(), DOCKER_MANIFEST, False),
        # A mediaType that its form denies says nothing.
        ("text/plain", b'{"mediaType": "%s", "manifests": []}' % OCI_MANIFEST.encode(), OCI_INDEX, True),
        # What fits stays.
        (DOCKER_LIST, INDEX, DOCKER_LIST, True),
        (DOCKER_MANIFEST, IMAGE, DOCKER_MANIFEST, False),
        (OCI_INDEX, b"{}", OCI_INDEX, True),
        (OCI_MANIFEST, b'{"layers": [], "manifests": null}', OCI_MANIFEST, False),
        (EXAMPLE, b'{"mediaType": "%s", "layers": []}' % EXAMPLE.encode(), EXAMPLE, False),
        (EXAMPLE, b'{"mediaType": "%s", "manifests": []}' % EXAMPLE.encode(), EXAMPLE, True),
        (EXAMPLE, b"{}", EXAMPLE, False),
    ],
)
async def test_a_document_says_what_it_is_where_the_header_is_wrong(
    fake_source: FakeRegistry, given: str, body: bytes, media_type: str, is_index: bool
) -> None:
    digest = fake_source.add_manifest("a/app", "v1", body, given, "sha256:" + hashlib.sha256(body).hexdigest())
    async with opened(fake_source.host) as repository:
        for target in ("v1", digest):
            found = await repository.manifests.get(target)
            assert (found.media_type, found.is_index, found.digest) == (media_type, is_index, digest)


async def test_a_manifest_of_countless_objects_is_not_parsed(fake_source: FakeRegistry) -> None:
    body = b'{"layers": [' + b"[]," * OBJECTS_LIMIT + b"[]]}"
    digest = fake_source.add_manifest("a/app", "v1", body, OCI_MANIFEST)
    async with opened(fake_source.host) as repository:
        found = await repository.manifests.get("v1")
        with pytest.raises(InvalidResponse, match=rf"{repository.name}@{digest}: .*250,000 objects and lists"):
            found.parse()


async def test_what_is_no_json_is_told_with_its_repository(fake_source: FakeRegistry) -> None:
    digest = fake_source.add_manifest("a/app", "v1", b"[]", OCI_MANIFEST)
    async with opened(fake_source.host) as repository:
        found = await repository.manifests.get("v1")
        with pytest.raises(InvalidResponse, match=rf"read manifest {fake_source.host}/a/app@{digest}: .*not a JSON"):
            found.parse()


@pytest.mark.parametrize("status", [400, 401, 403, 405, 406, 410, 451, 500, 501])
async def test_a_head_that_is_refused_is_asked_again_with_get_and_that_is_remembered(status: int) -> None:
    with FakeRegistry(Quirks(manifest_head=status)) as registry:
        digests = [registry.image("a/app", f"v{number}", [bytes([number])]) for number in range(3)]
        async with opened(registry.host) as repository:
            for number, digest in enumerate(digests):
                found = await repository.manifests.head(f"v{number}")
                assert found is not None
                assert found.digest == digest
            assert await repository.manifests.head("v3") is None
        # A 500 and a 401 are tried again before they are believed.
        assert len({entry.path for entry in registry.log.entries("manifest-head")}) == 1
        assert registry.count("manifest-get") == 4


async def test_a_head_that_is_refused_of_what_is_not_there_is_remembered(fake_source: FakeRegistry) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-head", actions.respond(403)))
    async with opened(fake_source.host) as repository:
        assert await repository.manifests.head("v2") is None
        assert await repository.manifests.head("v1") is not None
    assert fake_source.count("manifest-head") == 1


async def test_where_get_is_refused_as_well_it_is_not_asked_for_each_tag(fake_source: FakeRegistry) -> None:
    fake_source.rules.append(Fault(Match(path="manifests"), actions.refuse(403, "DENIED", "not yours")))
    async with opened(fake_source.host) as repository:
        with pytest.raises(Forbidden, match="not yours"):
            await repository.manifests.head("v1")
        for tag in ("v2", "v3"):
            with pytest.raises(Forbidden):
                await repository.manifests.head(tag)
    assert (fake_source.count("manifest-head"), fake_source.count("manifest-get")) == (3, 1)


@pytest.mark.parametrize("status", [404, 429, 503])
async def test_a_head_that_is_answered_is_not_asked_again_with_get(status: int) -> None:
    with FakeRegistry(Quirks(manifest_head=status)) as registry:
        registry.image("a/app", "v1")
        async with opened(registry.host) as repository:
            if status == 404:
                assert await repository.manifests.head("v1") is None
            else:
                with pytest.raises(Unavailable):
                    await repository.manifests.head("v1")
        assert registry.count("manifest-get") == 0


MADE = Manifest.of(image_manifest([]).data, OCI_MANIFEST)
OTHER = "sha256:" + "e" * 64


def rewritten(manifest: Manifest) -> str:
    """Return the digest under which a registry that writes manifests anew has this one."""
    body = json.dumps(json.loads(manifest.body), sort_keys=True).encode()
    return "sha256:" + hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("named_by", ["docker-content-digest", "location", "nothing"])
async def test_a_tag_of_a_registry_that_writes_manifests_anew_is_what_it_stored(
    fake_destination: FakeRegistry, named_by: str
) -> None:
    fake_destination.quirks.rewrite_manifests = True
    fake_destination.quirks.check_references = False
    if named_by != "docker-content-digest":
        fake_destination.rules.append(Fault("manifest-put", actions.without_digest()))
    if named_by == "nothing":
        fake_destination.rules.append(Fault("manifest-put", actions.without_header("Location")))
    async with opened(fake_destination.host, writable=True) as repository:
        stored = await repository.manifests.put("v1", MADE)
    assert stored == StoredManifest(rewritten(MADE), rewritten(MADE))
    assert stored.digest == fake_destination.digest("a/app", "v1") != MADE.digest


async def test_under_a_digest_nothing_else_may_be_stored(fake_destination: FakeRegistry) -> None:
    fake_destination.quirks.rewrite_manifests = True
    fake_destination.quirks.check_references = False
    async with opened(fake_destination.host, writable=True) as repository:
        with pytest.raises(DigestMismatch, match=rf"put manifest .*a/app@{MADE.digest}.*{rewritten(MADE)}") as told:
            await repository.manifests.put(MADE.digest, MADE)
    assert not told.value.transient


@pytest.mark.parametrize("target", ["v1", MADE.digest])
async def test_an_answer_with_another_digest_is_nothing_where_the_manifest_is_there(
    fake_destination: FakeRegistry, target: str
) -> None:
    fake_destination.quirks.check_references = False
    fake_destination.rules.append(Fault("manifest-put", actions.wrong_digest(OTHER)))
    async with opened(fake_destination.host, writable=True) as repository:
        assert await repository.manifests.put(target, MADE) == StoredManifest(MADE.digest, OTHER)


@pytest.mark.parametrize(
    "headers", [{}, {"Docker-Content-Digest": OTHER}, {"Location": f"/v2/a/app/manifests/{OTHER}"}]
)
async def test_an_answer_that_it_is_stored_is_not_believed_where_it_is_not_there(
    fake_destination: FakeRegistry, headers: dict[str, str]
) -> None:
    fake_destination.rules.append(Fault("manifest-put", actions.respond(201, b"", headers)))
    async with opened(fake_destination.host, writable=True) as repository:
        with pytest.raises(Unavailable, match=r"a/app:v1: .* does not have it") as told:
            await repository.manifests.put("v1", MADE)
    assert told.value.transient


async def test_an_account_that_may_not_read_is_believed(fake_destination: FakeRegistry) -> None:
    fake_destination.quirks.check_references = False
    fake_destination.rules.append(Fault("manifest-get", actions.refuse(403, "DENIED")))
    fake_destination.rules.append(Fault("manifest-head", actions.respond(403)))
    fake_destination.rules.append(Fault("manifest-put", actions.wrong_digest(OTHER), times=2))
    async with opened(fake_destination.host, writable=True) as repository:
        assert await repository.manifests.put("v1", MADE) == StoredManifest(OTHER, OTHER)
        with pytest.raises(DigestMismatch, match=OTHER):
            await repository.manifests.put(MADE.digest, MADE)
        fake_destination.rules.append(Fault("manifest-put", actions.without_digest()))
        fake_destination.rules.append(Fault("manifest-put", actions.without_header("Location")))
        assert await repository.manifests.put("v1", MADE) == StoredManifest(MADE.digest, MADE.digest)


async def test_what_is_put_as_it_is_costs_one_request(fake_destination: FakeRegistry) -> None:
    fake_destination.quirks.check_references = False
    fake_destination.rules.append(Fault("manifest-put", actions.without_digest(), times=1))
    async with opened(fake_destination.host, writable=True) as repository:
        for target in ("v1", MADE.digest):
            assert await repository.manifests.put(target, MADE) == StoredManifest(MADE.digest, MADE.digest)
    assert fake_destination.counts() == {"ping": 1, "manifest-put": 2}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_put_is_carried_to_no_other_host(fake_destination: FakeRegistry, status: int) -> None:
    manifest = Manifest.of(image_manifest([b"layer"]).data, OCI_MANIFEST)
    with FakeRegistry(address="127.0.0.2") as elsewhere:
        fake_destination.rules.append(Fault("manifest-put", actions.redirect(elsewhere.url, status)))
        async with opened(fake_destination.host, writable=True) as repository:
            with pytest.raises(InvalidResponse, match=rf"put manifest .*redirect to {elsewhere.url}/v2/"):
                await repository.manifests.put("v1", manifest)
        assert len(elsewhere.log) == 0


@pytest.mark.parametrize("status", [302, 303])
async def test_a_put_does_not_become_a_get(fake_destination: FakeRegistry, status: int) -> None:
    manifest = Manifest.of(image_manifest([b"layer"]).data, OCI_MANIFEST)
    page = f"{fake_destination.url}/v2/"
    fake_destination.rules.append(Fault("manifest-put", actions.redirect(lambda call: page, status)))
    async with opened(fake_destination.host, writable=True) as repository:
        with pytest.raises(InvalidResponse, match="answers with a redirect"):
            await repository.manifests.put("v1", manifest)


async def test_a_put_goes_on_at_its_own_host(fake_destination: FakeRegistry) -> None:
    manifest = Manifest.of(b'{"schemaVersion": 2}', "application/vnd.example+json")
    fake_destination.rules.append(Fault("manifest-put", actions.redirect(fake_destination.url, 307), times=1))
    async with opened(fake_destination.host, writable=True) as repository:
        await repository.manifests.put("v1", manifest)
    assert fake_destination.count("manifest-put") == 2
    assert fake_destination.digest("a/app", "v1") == manifest.digest
