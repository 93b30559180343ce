"""What is tried again, how often and after which pause; and what is not."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from imageferry.model import Limits
from imageferry.registry import Repository
from imageferry.registry.errors import LimitReached, RegistryError, Unavailable, Unreachable
from imageferry.registry.http import client, retry
from imageferry.registry.http.retry import ATTEMPTS
from imageferry.registry.limits.quota import LONGEST_RETRY_AFTER, retry_after
from imageferry.registry.limits.registry_limits import RegistryLimits
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.auth import Bearer
from testkit.registries.fault_rules import Action, Fault
from testkit.registries.inprocess import FakeRegistry
from tests.registry.opening import access, opened


@pytest.mark.parametrize("status", [408, 425, 429, 499, 500, 502, 503, 504, 507, 509, 520, 522, 524, 529, 530, 599])
async def test_what_may_heal_is_tried_again(fake_source: FakeRegistry, status: int) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-get", actions.refuse(status, "BUSY"), times=ATTEMPTS - 1))
    async with opened(fake_source.host) as repository:
        await repository.manifests.get("v1")
    assert fake_source.count("manifest-get") == ATTEMPTS


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 412, 413, 422, 451, 501, 505])
async def test_what_cannot_heal_is_asked_once(fake_source: FakeRegistry, status: int, pauses: list[float]) -> None:
    fake_source.rules.append(Fault("manifest-get", actions.refuse(status, "NO")))
    async with opened(fake_source.host) as repository:
        with pytest.raises(RegistryError) as told:
            await repository.manifests.get("v1")
    assert (told.value.status, told.value.transient) == (status, False)
    assert (fake_source.count("manifest-get"), pauses) == (1, [])


@pytest.mark.parametrize("status", [499, 520, 524])
async def test_a_proxy_that_cannot_reach_the_registry_is_asked_again(status: int) -> None:
    bearer, blob = Bearer({"ferry": "secret"}), b"layer"
    with FakeRegistry(auth=bearer) as registry, FakeRegistry() as store:
        registry.image("a/app", "v1")
        digest = registry.add_blob("a/app", blob)
        store.add_blob("a/app", blob)
        kinds = ("token", "tags", "blob-head", "upload-start", "upload-put", "manifest-put")
        registry.rules += [Fault(kind, actions.refuse(status, "BUSY"), times=1) for kind in kinds]
        registry.rules.append(Fault("blob-get", actions.redirect(store.url)))
        store.rules.append(Fault("blob-get", actions.html(status), times=1))
        async with opened(registry.host, entry=access("ferry", "secret"), writable=True) as repository:
            assert await repository.tags.all() == ["v1"]
            assert await repository.blobs.exists(digest)
            assert await repository.blobs.read(digest, 100) == blob
            await (await repository.uploads.start(sha256(b"other"))).put(b"other")
            await repository.manifests.put("v2", await repository.manifests.get("v1"))
        assert registry.blob("a/app", sha256(b"other")) == b"other"
        assert [rule.hits for rule in registry.rules[:-1]] == [1] * len(kinds)


async def test_a_repository_that_is_unknown_with_500_is_asked_once(fake_source: FakeRegistry) -> None:
    fake_source.quirks.unknown_name = 500
    async with opened(fake_source.host, "b/app") as repository:
        with pytest.raises(RegistryError) as told:
            await repository.manifests.get("v1")
    assert (told.value.transient, fake_source.count("manifest-get")) == (False, 1)


@pytest.mark.parametrize("value", ["9" * 20, "99999999999.5", "31 Dec 9999 23:59:59 -2359"])
@pytest.mark.parametrize("kind", ["manifest-head", "manifest-get", "tags", "blob-get", "upload-start"])
async def test_a_wait_without_end_is_an_error_of_what_asked(fake_source: FakeRegistry, value: str, kind: str) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault(kind, actions.refuse(429, "TOOMANYREQUESTS", "", {"Retry-After": value})))
    asking: dict[str, Callable[[Repository], Awaitable[object]]] = {
        "manifest-head": lambda repository: repository.manifests.head("v1"),
        "manifest-get": lambda repository: repository.manifests.get("v1"),
        "tags": lambda repository: repository.tags.all(),
        "blob-get": lambda repository: repository.blobs.read(sha256(b"x"), 10),
        "upload-start": lambda repository: repository.uploads.start(sha256(b"x")),
    }
    async with opened(fake_source.host, writable=True) as repository:
        with pytest.raises(LimitReached, match="is not tried again before 20"):
            await asking[kind](repository)
    assert fake_source.count(kind) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("86400", 86400.0),
        ("9" * 20, LONGEST_RETRY_AFTER),
        ("9" * 5000, LONGEST_RETRY_AFTER),
        ("1 Jan 0001 00:00:00 +2359", 0.0),
        ("31 Dec 9999 23:59:59 -2359", LONGEST_RETRY_AFTER),
        ("Mon, 01 Jan 99999999999999 00:00:00 GMT", None),
        ("-5", None),
        ("1e3", None),
        ("inf", None),
        ("soon", None),
        ("\u0665", None),
        ("", None),
    ],
)
def test_any_retry_after_is_seconds_within_bounds_or_none(value: str, seconds: float | None) -> None:
    assert retry_after(httpx.Headers([(b"retry-after", value.encode())])) == seconds


async def test_it_gives_up_in_the_end(fake_source: FakeRegistry, pauses: list[float]) -> None:
    fake_source.rules.append(Fault(None, actions.too_many()))
    async with opened(fake_source.host) as repository:
        with pytest.raises(Unavailable, match=r"429.*request limit") as told:
            await repository.manifests.head("v1")
    assert told.value.transient
    assert fake_source.count("manifest-head") == ATTEMPTS
    # Each pause is drawn from twice the span of the one before.
    assert len(pauses) == ATTEMPTS - 1
    assert all(0.1 <= pause <= 0.5 * 2**number for number, pause in enumerate(pauses))


@pytest.mark.parametrize("status", [429, 503])
async def test_the_registry_says_how_long(
    fake_source: FakeRegistry, status: int, pauses: list[float], waited: list[float]
) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-head", actions.too_many(7, status=status), times=1))
    fake_source.rules.append(Fault("manifest-head", actions.too_many(40, as_date=True, status=status), times=1, skip=1))
    fake_source.rules.append(Fault("manifest-head", actions.too_many(300, status=status), times=1, skip=2))
    async with opened(fake_source.host) as repository:
        assert await repository.manifests.head("v1")
    assert (pauses[0], pauses[2]) == (7.0, retry.LONGEST_PAUSE)
    assert 30 < pauses[1] <= 40
    # The rest of what is longer is waited for in the limiter, with all others.
    assert [round(span) for span in waited] == [7, pytest.approx(39, abs=2), 300]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", None), ("5", 5.0), (" 5 ", 5.0), ("-5", None), ("soon", None), ("٣", None), ("1e9", None), ("Thu", None)],
)
def test_retry_after(value: str, expected: float | None) -> None:
    assert retry_after(httpx.Headers([(b"retry-after", value.encode())])) == expected


def test_retry_after_a_date_that_is_past() -> None:
    past = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    assert retry_after(httpx.Headers({"Retry-After": past})) == 0.0


@pytest.mark.parametrize("fault", [actions.hang_up(), actions.hang_up("reset")])
async def test_a_connection_that_breaks_is_made_anew(fake_source: FakeRegistry, fault: Action) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-head", fault, times=ATTEMPTS - 1))
    async with opened(fake_source.host) as repository:
        assert await repository.manifests.head("v1")


async def test_idle_connections_that_were_closed_are_no_error(fake_source: FakeRegistry) -> None:
    fake_source.image("a/app", "v1")
    async with opened(fake_source.host) as repository:
        for _ in range(3):
            await asyncio.gather(*(repository.manifests.head("v1") for _ in range(5)))
            fake_source.drop_connections()
        assert await repository.manifests.get("v1")


async def test_a_manifest_that_is_cut_short_is_read_again(fake_source: FakeRegistry) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-get", actions.truncate(20), times=1))
    async with opened(fake_source.host) as repository:
        assert (await repository.manifests.get("v1")).body == fake_source.manifest("a/app", "v1")


async def test_a_registry_that_is_away_is_told_in_words(fake_source: FakeRegistry) -> None:
    fake_source.stop()
    async with opened(fake_source.host) as repository:
        with pytest.raises(Unreachable, match="neither HTTPS nor HTTP: the connection is refused") as told:
            await repository.manifests.head("v1")
    assert told.value.transient


@pytest.mark.parametrize("fault", [actions.hang_up(), actions.hang_up("reset")])
async def test_a_registry_that_hangs_up_is_told_in_words(fake_source: FakeRegistry, fault: Action) -> None:
    fake_source.rules.append(Fault("manifest-head", fault))
    async with opened(fake_source.host) as repository:
        with pytest.raises(Unreachable, match=r"the connection was (closed|reset)"):
            await repository.manifests.head("v1")


async def test_a_registry_that_says_nothing_is_not_waited_for_without_end(
    fake_source: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", httpx.Timeout(0.2, pool=None))
    fake_source.rules.append(Fault("manifest-head", actions.delay(60)))
    async with opened(fake_source.host) as repository:
        with pytest.raises(Unreachable, match="nothing came in time"):
            await repository.manifests.head("v1")
    assert fake_source.count("manifest-head") == ATTEMPTS


async def test_short_requests_are_bounded(fake_source: FakeRegistry) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-head", actions.delay(0.3)))
    async with opened(fake_source.host, limits=RegistryLimits(Limits(requests=4))) as repository:
        await asyncio.gather(*(repository.manifests.head("v1") for _ in range(12)))
    assert fake_source.peak("manifest-head") == 4
