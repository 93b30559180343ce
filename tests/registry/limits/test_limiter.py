"""Requests that are held back: by a refusal that is another one's, and by a registry that is away."""

import asyncio
import socket
from collections import Counter
from typing import Any

import aiohttp
import httpx
import pytest

from imageferry.registry.errors import LimitReached, RegistryDown, RegistryError, Unavailable, Unreachable
from imageferry.registry.http.retry import ATTEMPTS
from imageferry.registry.limits.circuit_breaker import CircuitBreaker
from imageferry.registry.limits.limiter import RequestLimiter
from imageferry.registry.limits.outage import (
    FAILURES_IN_A_ROW,
    PATIENCE_AT_FIRST,
    PROBE_EVERY,
    PROBE_WHEN_GIVEN_UP,
)
from imageferry.registry.limits.registry_limits import REQUESTS_AT_ONCE
from imageferry.registry.repository import Repository
from imageferry.report.waits import Wait, Waits
from testkit.images.documents import sha256
from testkit.registries import actions
from testkit.registries.exchange import Call, Reply
from testkit.registries.fault_rules import Action, Fault, Proceed
from testkit.registries.inprocess import FakeRegistry
from testkit.registries.quirks import Quirks
from tests.registry.opening import access, opened


class Waiting:
    """Requests that wait before a barrier until it changes, and a count of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._more = asyncio.Event()
        monkeypatch.setattr(CircuitBreaker, "_rest", staticmethod(self._rest))

    async def _rest(self, changed: asyncio.Event, seconds: float | None) -> None:
        self.count += 1
        self._more.set()
        await changed.wait()

    async def until(self, count: int) -> None:
        """Wait until so many have come."""
        async with asyncio.timeout(60):
            while self.count < count:
                self._more.clear()
                await self._more.wait()


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every connection that is tried."""
    hosts: list[str] = []
    real = aiohttp.TCPConnector._create_connection

    async def create(self: aiohttp.TCPConnector, req: Any, *rest: Any) -> Any:
        hosts.append(f"{req.url.host}:{req.url.port}")
        return await real(self, req, *rest)

    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", create)
    return hosts


async def drop(tasks: list[asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Waiting:
    """Have what is held back wait for good."""
    return Waiting(monkeypatch)


async def test_while_one_is_told_to_wait_the_others_do_not_ask(fake_source: FakeRegistry, waiting: Waiting) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-get", actions.too_many(600)))
    async with opened(fake_source.host) as repository:
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(repository.manifests.get("v1"))]
        await waiting.until(1)
        tasks += [asyncio.create_task(repository.manifests.get("v1")) for _ in range(2 * REQUESTS_AT_ONCE)]
        await waiting.until(1 + 2 * REQUESTS_AT_ONCE)
        assert fake_source.count("manifest-get") == 1
        # A HEAD is not what was refused, and finds a free place.
        assert await repository.manifests.head("v1")
        assert await repository.tags.all() == ["v1"]
        await drop(tasks)


async def test_who_refuses_a_head_refuses_all(fake_source: FakeRegistry, waiting: Waiting) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-head", actions.too_many(600)))
    async with opened(fake_source.host) as repository:
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(repository.manifests.head("v1"))]
        await waiting.until(1)
        tasks += [
            asyncio.create_task(repository.manifests.head("v1")),
            asyncio.create_task(repository.manifests.get("v1")),
            asyncio.create_task(repository.tags.all()),
        ]
        await waiting.until(4)
        await drop(tasks)
    assert fake_source.counts() == {"ping": 1, "manifest-head": 1}


async def test_to_clean_up_is_not_waited_for(fake_destination: FakeRegistry, waiting: Waiting) -> None:
    fake_destination.rules.append(Fault("upload-put", actions.too_many(600)))
    async with opened(fake_destination.host, writable=True) as repository:
        upload = await repository.uploads.start(sha256(b"x"))
        task: asyncio.Task[object] = asyncio.create_task(upload.put(b"x"))
        await waiting.until(1)
        async with asyncio.timeout(20):
            await upload.cancel()
        assert fake_destination.count("upload-cancel") == 0
        await drop([task])


async def test_after_the_wait_one_goes_ahead_and_the_others_by_what_it_finds(fake_source: FakeRegistry) -> None:
    fake_source.image("a/app", "v1")
    under_way: list[int] = []
    refusing = True

    async def refuse_a_while(call: Call, proceed: Proceed) -> Reply:
        under_way.append(fake_source.count("manifest-get"))
        return await (actions.too_many(30)(call, proceed) if len(under_way) <= 3 and refusing else proceed(call))

    fake_source.rules.append(Fault("manifest-get", refuse_a_while))
    async with opened(fake_source.host) as repository:
        await repository.manifests.head("v1")
        first = asyncio.create_task(repository.manifests.get("v1"))
        while not under_way:
            await asyncio.sleep(0)
        await asyncio.gather(first, *(repository.manifests.get("v1") for _ in range(20)))
    # Three were refused, each alone: 21 asked, and only the probes asked twice.
    assert fake_source.count("manifest-get") == 21 + 3


async def test_a_limit_that_lifts_in_hours_is_told_and_not_waited_for(
    fake_source: FakeRegistry, pauses: list[float], waited: list[float]
) -> None:
    fake_source.rules.append(Fault("manifest-get", actions.too_many(6 * 3600)))
    async with opened(fake_source.host) as repository:
        for _ in range(20):
            with pytest.raises(LimitReached, match=r"not tried again before \d\d:\d\d:\d\d; run again then") as told:
                await repository.manifests.get("v1")
            assert not told.value.transient
    assert (fake_source.count("manifest-get"), pauses, waited) == (1, [], [])


async def test_who_refuses_for_ever_is_given_up(fake_source: FakeRegistry) -> None:
    fake_source.rules.append(Fault("manifest-get", actions.too_many()))
    told: Counter[type] = Counter()
    async with opened(fake_source.host) as repository:
        for answer in await asyncio.gather(
            *(repository.manifests.get("v1") for _ in range(500)), return_exceptions=True
        ):
            told[type(answer)] += 1
    assert told.keys() <= {Unavailable, LimitReached}
    assert told[LimitReached] > 450
    assert fake_source.count("manifest-get") < 2 * REQUESTS_AT_ONCE


async def test_who_waits_together_is_told_of_once(fake_source: FakeRegistry, waiting: Waiting) -> None:
    fake_source.rules.append(Fault("manifest-get", actions.too_many(120)))
    waits, told = Waits(), list[Wait]()
    waits.listeners.append(told.append)
    async with opened(fake_source.host, waits=waits) as repository:
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(repository.manifests.get("v1")) for _ in range(5)]
        await waiting.until(5)
        await drop(tasks)
    assert len(told) == 1


async def test_the_wait_is_told_once_with_its_end(fake_source: FakeRegistry, waited: list[float]) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-get", actions.too_many(120), times=2))
    waits, told = Waits(), list[Wait]()
    waits.listeners.append(told.append)
    async with opened(fake_source.host, waits=waits) as repository:
        await repository.manifests.get("v1")
    assert len(waited) == 2
    (wait,) = told
    assert str(wait).startswith(f"waiting for {fake_source.host} until ")
    assert str(wait).endswith("its request limit is reached")
    assert list(waits.now()) == []


@pytest.mark.parametrize("insecure", [True, False])
async def test_a_registry_that_is_away_costs_few_connections(
    fake_source: FakeRegistry, monkeypatch: pytest.MonkeyPatch, insecure: bool
) -> None:
    attempts = counted(monkeypatch)
    fake_source.stop()
    entry = None if insecure else access(insecure=False)
    async with opened(fake_source.host, entry=entry) as repository:
        errors = await asyncio.gather(
            *(repository.manifests.head(f"v{number}") for number in range(500)), return_exceptions=True
        )
    assert all(isinstance(error, Unreachable) for error in errors)
    away = [error for error in errors if isinstance(error, RegistryDown)]
    assert len(away) > 450
    assert "the connection is refused" in str(away[0])
    assert "run again" in str(away[0])
    assert not away[0].transient
    # Those that were under way when it was found out, and the probes while the others waited.
    assert len(attempts) <= REQUESTS_AT_ONCE + FAILURES_IN_A_ROW + PATIENCE_AT_FIRST / PROBE_EVERY + 1


async def test_a_registry_that_comes_back_fails_nobody(
    fake_source: FakeRegistry, monkeypatch: pytest.MonkeyPatch, waited: list[float]
) -> None:
    fake_source.image("a/app", "v1")
    async with opened(fake_source.host) as repository:
        await repository.manifests.head("v1")
        fake_source.stop()
        real = CircuitBreaker._rest

        async def rest(changed: asyncio.Event, seconds: float | None) -> None:
            await real(changed, seconds)
            if sum(waited) > 10 and fake_source.is_stopped:
                fake_source.start()

        monkeypatch.setattr(CircuitBreaker, "_rest", staticmethod(rest))
        found = await asyncio.gather(*(repository.manifests.head("v1") for _ in range(100)))
    assert all(found)


async def test_one_that_was_given_up_is_found_again(fake_source: FakeRegistry, waited: list[float]) -> None:
    fake_source.image("a/app", "v1")
    async with opened(fake_source.host) as repository:
        await repository.manifests.head("v1")
        fake_source.stop()
        await asyncio.gather(*(repository.manifests.head("v1") for _ in range(100)), return_exceptions=True)
        fake_source.start()
        with pytest.raises(RegistryDown):
            await repository.manifests.head("v1")
        waited.append(PROBE_WHEN_GIVEN_UP)
        assert all(await asyncio.gather(*(repository.manifests.head("v1") for _ in range(1))))
        assert all(await asyncio.gather(*(repository.manifests.head("v1") for _ in range(50))))


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_one_that_only_answers_5xx_is_given_up_too(fake_source: FakeRegistry, status: int) -> None:
    fake_source.rules.append(Fault("manifest-get", actions.refuse(status, "DOWN")))
    async with opened(fake_source.host) as repository:
        errors = await asyncio.gather(*(repository.manifests.get("v1") for _ in range(200)), return_exceptions=True)
    away = [error for error in errors if isinstance(error, RegistryDown)]
    assert len(away) > 120
    assert f"it answers {status}" in str(away[0])
    assert fake_source.count("manifest-get") <= 3 * REQUESTS_AT_ONCE


@pytest.mark.parametrize("fault", [actions.refuse(503, "BUSY"), actions.hang_up(), actions.hang_up("reset")])
async def test_failures_with_answers_between_them_hold_nobody(
    fake_source: FakeRegistry, fault: Action, waited: list[float]
) -> None:
    fake_source.image("a/app", "v1")
    fake_source.rules.append(Fault("manifest-get", fault))
    async with opened(fake_source.host) as repository:
        for _ in range(10):
            with pytest.raises(RegistryError):
                await repository.manifests.get("v1")
            assert await repository.manifests.head("v1")
    assert waited == []
    assert fake_source.count("manifest-get") >= 10 * ATTEMPTS


async def test_repositories_that_are_unknown_with_500_are_no_failure_of_the_registry(waited: list[float]) -> None:
    with FakeRegistry(Quirks(unknown_name=500)) as registry:
        async with opened(registry.host) as repository:
            found = await asyncio.gather(
                *(Repository(repository.client, f"b/app{number}").manifests.head("v1") for number in range(40))
            )
    assert found == [None] * 40
    assert waited == []


async def test_many_that_meet_one_refusal_are_one(waited: list[float]) -> None:
    limiter = RequestLimiter("x.example")
    request = httpx.Request("GET", "http://x.example/v2/a/manifests/v1")
    together = asyncio.Barrier(10)

    async def refuse(request: httpx.Request) -> httpx.Response:
        await together.wait()
        return httpx.Response(429, request=request)

    async def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, request=request)

    await asyncio.gather(*(limiter.send(request, refuse) for _ in range(10)))
    await limiter.send(request, answer)
    # The pause after the first refusal, not after the tenth.
    assert sum(waited) <= 0.5


async def test_a_probe_that_is_cancelled_leaves_the_way_to_the_next(fake_source: FakeRegistry) -> None:
    limiter = RequestLimiter("x.example")
    request = httpx.Request("GET", "http://x.example/v2/a/manifests/v1")
    reached = asyncio.Event()

    async def never(request: httpx.Request) -> httpx.Response:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"retry-after": "1"}, request=request)

    async def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, request=request)

    await limiter.send(request, refuse)
    probe = asyncio.create_task(limiter.send(request, never))
    await reached.wait()
    next_one = asyncio.create_task(limiter.send(request, answer))
    await asyncio.sleep(0)
    assert not next_one.done()
    await drop([probe])
    async with asyncio.timeout(20):
        assert (await next_one).status_code == 200


async def test_a_name_that_does_not_resolve_is_told_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(host: str, *rest: Any, **more: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    attempts = counted(monkeypatch)
    async with opened("registry.invalid:5000", entry=access(insecure=False)) as repository:
        errors = await asyncio.gather(*(repository.manifests.head("v1") for _ in range(200)), return_exceptions=True)
    assert all("its name does not resolve" in str(error) for error in errors)
    assert sum(isinstance(error, RegistryDown) for error in errors) > 100
    assert len(attempts) < 2 * REQUESTS_AT_ONCE
