"""Tests that do not wait: no pause between two tries, and nothing of the user's environment."""

import asyncio
import time

import pytest
from tenacity import RetryCallState

from imageferry.copy import retry_budget
from imageferry.registry.http import retry
from imageferry.registry.limits.circuit_breaker import CircuitBreaker

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the engine would have waited between tries; it goes on at once instead."""
    asked: list[float] = []
    real = retry._pause

    def recorded(state: RetryCallState) -> float:
        # It is asked after the last try too, and then not waited for.
        if state.attempt_number < retry.ATTEMPTS:
            asked.append(real(state))
        return 0.0

    monkeypatch.setattr(retry, "_pause", recorded)
    monkeypatch.setattr(retry_budget, "FIRST_PAUSE", 0.0)
    return asked


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that requests would have waited before a barrier; its clock goes on by them instead."""
    spans: list[float] = []

    async def rest(changed: asyncio.Event, seconds: float | None) -> None:
        if seconds is None:
            await changed.wait()
        else:
            spans.append(seconds)
            await asyncio.sleep(0)

    monkeypatch.setattr(CircuitBreaker, "clock", staticmethod(lambda: time.monotonic() + sum(spans)))
    monkeypatch.setattr(CircuitBreaker, "_rest", staticmethod(rest))
    return spans


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
