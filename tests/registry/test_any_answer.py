"""Whatever a registry answers, it is a result or an error in words."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from imageferry.copy.manifest_contents import blobs, children
from imageferry.copy.platforms import filter_platforms
from imageferry.errors import ImageferryError
from imageferry.model import RegistryAccess
from imageferry.registry import Repository
from imageferry.registry.http.retry import ATTEMPTS
from imageferry.registry.limits import quota_pacing
from imageferry.registry.limits.quota import retry_after
from imageferry.registry.limits.quota_pacing import QuotaPacing
from imageferry.registry.limits.rate_limit_hold import LONGEST_WAIT, PATIENCE_WITH_LIMIT, RateLimitHold
from imageferry.registry.manifest import DOCKER_SCHEMA1_SIGNED, INDEX_TYPES, OCI_INDEX, OCI_MANIFEST
from imageferry.selection import PlatformFilter
from imageferry.text import escape_control
from testkit.images.documents import sha256
from tests.registry.canned import Answer, canned
from tests.registry.opening import access

DIGEST = sha256(b"layer")
SLOW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

# What stands in headers of registries, to be put together wrongly.
PARTS = [
    b"Bearer ", b"Basic ", b"realm=", b'"', b"\\", b",", b";", b" ", b"=", b"https://t.example/x", b"http://[::1",
    b"http://h:port/", b"xn--99999999", b"http://xn--a/", b"..", b"%00", b"%0a", b"?", b"#", b"<", b">", b'rel="next"',
    b"rel=next", b"bytes ", b"0-", b"-1", b"9" * 400, b"\xb2", b"\xff", b"\xe9", b"sha256:", DIGEST.encode(), b"gzip",
    b"//", b"@", b":", b"file:", b"data:,x", b"application/json", b"Mon, 01 Jan 2024 00:00:00 GMT", b"+99999999",
    b"u:p@", b"31 Dec 9999 23:59:59 -2359", b"1 Jan 0001 00:00:00 +2359", b"[", b"]", b"\t",
]  # fmt: skip
VALUES = st.lists(st.sampled_from(PARTS) | st.binary(max_size=6), max_size=8).map(
    lambda parts: b"".join(parts).translate(None, b"\r\n\0")
)
NAMES = st.sampled_from(
    [
        b"www-authenticate", b"link", b"location", b"content-range", b"range", b"retry-after", b"content-type",
        b"docker-content-digest", b"content-length", b"content-encoding", b"transfer-encoding", b"set-cookie",
    ]
)  # fmt: skip
LINKS = VALUES.map(lambda value: b"<" + value + b'>; rel="next"')
HEADERS = st.lists(st.tuples(NAMES, VALUES) | st.tuples(st.just(b"link"), LINKS), max_size=4)
STATUSES = st.sampled_from([200, 200, 200, 201, 202, 204, 206, 301, 304, 307, 308, 400, 401, 401, 404, 405, 429, 500])

WORDS = st.sampled_from(
    ["errors", "code", "message", "tags", "token", "access_token", "expires_in", "manifests", "layers", "config",
     "fsLayers", "blobSum", "history", "v1Compatibility", "mediaType", "digest", "size", "urls", "platform", "os",
     "architecture", "variant", "signatures", "protected", "formatLength", "formatTail", OCI_INDEX, OCI_MANIFEST,
     DIGEST, "a\r\nb: c", "\ud800", "\x1b[2J", "application/vnd.oci.image.config.v1+json"]
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers(-2, 1 << 70) | st.sampled_from([10**400, 1e999, float("nan"), -0.5]) | WORDS
)
TREES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=5),
    max_leaves=20,
)
# So that what stands in headers is come to.
GOOD = st.sampled_from([b'{"tags": ["a", "b"]}', b'{"layers": []}', b'{"token": "t"}'])
BODIES = (
    GOOD
    | TREES.map(lambda tree: json.dumps(tree).encode())
    | st.binary(max_size=60)
    | st.integers(900, 1100).map(lambda depth: b'{"size":' * depth)
    | st.integers(300, 1000).map(lambda depth: b'{"layers":[{"size":%s}]}' % (b"[" * depth + b"]" * depth))
    | st.integers(300, 1000).map(lambda depth: b'{"token":%s}' % (b"[" * depth + b"]" * depth))
)
ANSWERS = st.tuples(STATUSES, HEADERS, BODIES)

Asking = Callable[[Repository], Coroutine[Any, Any, Any]]


async def _walk(repository: Repository) -> None:
    manifest = await repository.manifests.get("v1")
    await filter_platforms(manifest, repository, PlatformFilter.parse(["linux/arm64/v8"]))
    children(manifest, 0) if manifest.is_index else blobs(manifest)


async def _read(repository: Repository) -> None:
    async with repository.blobs.open(DIGEST, 3) as answer:
        async for _ in answer.aiter_raw():
            pass


async def _list(repository: Repository) -> None:
    async for _ in repository.tags.pages():
        pass


async def _upload(repository: Repository) -> None:
    await (await repository.uploads.start(DIGEST)).put(b"layer")


async def _put(repository: Repository) -> None:
    await repository.manifests.put("v1", await repository.manifests.get("v1"))


ASKED: dict[str, Asking] = {
    "describe": lambda repository: repository.manifests.head("v1"),
    "by digest": lambda repository: repository.manifests.get(DIGEST),
    "size": lambda repository: repository.blobs.size(DIGEST),
    "small": lambda repository: repository.blobs.read(DIGEST, 1000),
    "mount": lambda repository: repository.uploads.mount(DIGEST, "b/app"),
    "walk": _walk,
    "read": _read,
    "list": _list,
    "upload": _upload,
    "put": _put,
}


async def tolerated(asking: Asking, answers: list[Answer], entry: RegistryAccess | None = None) -> int:
    """Ask, and let the answers come in turn, the last for ever; give how often was asked."""
    coming = iter(answers[:-1])

    def answer(request: httpx.Request) -> Answer:
        return next(coming, answers[-1])

    async with canned(answer, entry) as (repository, network):
        try:
            async with asyncio.timeout(60):
                await asking(repository)
        except ImageferryError as error:
            words = str(error)
        else:
            words = ""
        assert escape_control(words) == words
        assert len(words) < 1500
        return len(network.asked)


@pytest.mark.parametrize("name", ASKED)
@SLOW
@example([(200, [(b"link", b'<http://h:port/>; rel="next"')], b'{"tags": ["a"]}')], False)
@example([(200, [(b"link", b'<http://h//x>; rel="next"')], b'{"tags": ["a"]}')], False)
@example([(200, [(b"content-type", b"a/b\xe9")], b"{}")], False)
@example([(200, [], b'{"layers": [], "mediaType": "a/b\\r\\nc: d"}')], False)
@example([(200, [(b"content-length", b"\xb2")], b"")], False)
@example([(200, [(b"link", b'<http:////[>; rel="next"')], b'{"tags": ["a"]}')], False)
@example([(202, [(b"location", b"http:////[")], b"")], False)
@example([(307, [(b"location", b"https://h:99999/")], b"")], False)
@example([(404, [(b"content-encoding", b"gzip")], b"{}")], False)
@example([(307, [(b"location", b"https://xn--99999999/")], b"")], False)
@given(answers=st.lists(ANSWERS, min_size=1, max_size=4), user=st.booleans())
async def test_any_answers(name: str, answers: list[Answer], user: bool) -> None:
    asked = await tolerated(ASKED[name], answers, access("u", "p") if user else None)
    # Each step is tried ATTEMPTS times, redirected five times at most, and answered one challenge.
    assert asked <= 4 * 2 * ATTEMPTS * 6


CHALLENGE: Answer = (401, [(b"www-authenticate", b'Bearer realm="https://t.example/token"')], b"")


@SLOW
@given(ANSWERS, st.booleans())
@example((200, [], b'{"token": "t", "expires_in": 1%s}' % (b"0" * 400)), False)
@example((200, [], b'{"token": "t", "expires_in": NaN}'), False)
@example((200, [], b'{"token":' + b"[" * 60_000), False)
@example((200, [(b"content-encoding", b"br")], b"x"), True)
async def test_any_answer_of_a_token_server(answer: Answer, identity: bool) -> None:
    entry = access(identity_token="long-lived") if identity else access("u", "p")
    await tolerated(ASKED["describe"], [CHALLENGE, answer], entry)


@SLOW
@given(st.lists(st.tuples(st.just(b"www-authenticate"), VALUES), min_size=1, max_size=3))
@example([(b"www-authenticate", b'Bearer realm="https://u:p@t.example/x"')])
@example([(b"www-authenticate", b'Bearer realm="https://xn--99999999/x"')])
async def test_any_challenge(headers: list[tuple[bytes, bytes]]) -> None:
    await tolerated(ASKED["describe"], [(401, headers, b"")], access("u", "p"))


@SLOW
@given(st.sampled_from([OCI_INDEX, OCI_MANIFEST, DOCKER_SCHEMA1_SIGNED, *INDEX_TYPES]), BODIES)
@example(OCI_INDEX, b"{}")
@example(OCI_INDEX, b'{"manifests": null}')
@example(DOCKER_SCHEMA1_SIGNED, b'{"fsLayers": ["x"]}')
@example(DOCKER_SCHEMA1_SIGNED, b'{"history": [{"v1Compatibility": "[]"}]}')
@example(OCI_MANIFEST, b'{"config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": 5}}')
async def test_any_manifest(media_type: str, body: bytes) -> None:
    await tolerated(_walk, [(200, [(b"content-type", media_type.encode())], body)])


@settings(deadline=None)
@given(VALUES)
@example(b"Mon, 01 Jan 0001 00:00:00 +2359")
def test_any_retry_after(value: bytes) -> None:
    seconds = retry_after(httpx.Headers([(b"retry-after", value)]))
    assert seconds is None or seconds >= 0


# How registries say that a limit is reached or near, to be put together wrongly.
NUMBERS = st.integers(1, 30).map(lambda length: b"9" * length) | st.sampled_from(
    [b"0", b"1", b"-5", b"1.5", b"1e400", b"inf", b"nan", b"9" * 4400, b"\xb2", b"31 Dec 9999 23:59:59 -2359",
     b"Mon, 01 Jan 99999999999999 00:00:00 GMT", b"Mon, 01 Jan 2024 00:00:00 GMT", b""]
)  # fmt: skip
LITTLE = st.sampled_from([b"0", b"1", b"7"]) | NUMBERS
QUOTAS = st.tuples(LITTLE, NUMBERS).map(lambda two: b"%s;w=%s" % two) | st.tuples(LITTLE, NUMBERS).map(
    lambda two: b'"default";r=%s;t=%s' % two
)
LIMIT_HEADERS = st.lists(
    st.tuples(st.just(b"retry-after"), NUMBERS)
    | st.tuples(
        st.sampled_from(
            [b"ratelimit", b"ratelimit-policy", b"ratelimit-remaining", b"ratelimit-reset", b"ratelimit-limit",
             b"x-ratelimit-remaining", b"x-ratelimit-reset", b"x-ratelimit-limit"]
        ),
        NUMBERS | QUOTAS,
    ),
    max_size=5,
)  # fmt: skip
LIMITED = st.tuples(st.sampled_from([200, 200, 429, 429, 503, 520, 404]), LIMIT_HEADERS, GOOD)


def test_any_limits(waited: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    reached: Counter[str] = Counter()

    def seen(name: str, real: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            reached[name] += 1
            real(*arguments)

        return call

    async def sleep(seconds: float) -> None:
        # A quota is spread over hours: they pass at once.
        waited.append(seconds)
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)

    monkeypatch.setattr(quota_pacing, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(RateLimitHold, "record_refusal", seen("hold", RateLimitHold.record_refusal))
    monkeypatch.setattr(QuotaPacing, "renew", seen("pacing", QuotaPacing.renew))

    @settings(SLOW, max_examples=40)
    @example([(429, [(b"retry-after", b"9" * 20)], b"")])
    @example([(503, [(b"retry-after", b"9" * 4400)], b"")])
    @example([(200, [(b"ratelimit-remaining", b"1;w=999999999999999")], b'{"layers": []}')])
    @example([(200, [(b"ratelimit", b"remaining=1, reset=99999999999")], b'{"tags": ["a"]}')])
    @example([(429, [(b"x-ratelimit-reset", b"9" * 15), (b"x-ratelimit-remaining", b"0")], b"")])
    @given(st.lists(LIMITED, min_size=1, max_size=6))
    def ask(answers: list[Answer]) -> None:
        waited.clear()
        asyncio.run(_ask_under_limits(answers))
        # No more than is waited for a limit, whatever is said; with what is tried again after it.
        assert sum(waited) < 30 * (LONGEST_WAIT + PATIENCE_WITH_LIMIT)

    ask()
    assert reached["hold"] > 20
    assert reached["pacing"] > 2


async def _ask_under_limits(answers: list[Answer]) -> None:
    coming = iter(answers[:-1])
    async with canned(lambda request: next(coming, answers[-1])) as (repository, network):
        for name in ("describe", "walk", "list", "describe"):
            with contextlib.suppress(ImageferryError):
                async with asyncio.timeout(60):
                    await ASKED[name](repository)
        assert len(network.asked) < 200


async def test_an_index_without_entries_is_one_of_none() -> None:
    for body in (b"{}", b'{"manifests": null}', b'{"manifests": []}'):
        answer: Answer = (200, [(b"content-type", OCI_INDEX.encode())], body)
        async with canned(lambda request, answer=answer: answer) as (repository, _):  # type: ignore[misc]
            manifest = await repository.manifests.get("v1")
            assert (await filter_platforms(manifest, repository, PlatformFilter.parse(["linux"]))).root == manifest
