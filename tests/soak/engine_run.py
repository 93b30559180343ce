"""One run of the engine as the flows make it, without Prefect: jobs side by side, transient errors retried."""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import httpx
from tenacity import RetryCallState

from imageferry.concurrency import for_each
from imageferry.config import load_text
from imageferry.copy import reader, retry_budget, transfer, upload_stream
from imageferry.copy.blob_move import BlobMove
from imageferry.copy.engine import Engine
from imageferry.copy.job import CopyJob
from imageferry.copy.options import DEFAULT_PROC, Options
from imageferry.errors import ImageferryError
from imageferry.registry.http import auth, client, retry
from imageferry.registry.limits.circuit_breaker import CircuitBreaker
from imageferry.report.outcomes import Report

# As `imageferry.copy.runner` has it.
IMAGES_AT_ONCE = 12

# Seconds of silence after which a side is given up, in place of a minute: far more than a request takes here.
SILENCE = 3.0

# Seconds after which a side that is slow is left where others wait for it.
SLOW = 1.0

# How much quicker the time goes in which a registry is waited for.
QUICKER = 20

# The longest pause between two tries, in seconds.
LONGEST_PAUSE = 0.05


async def run_engine(text: str, proc: int = DEFAULT_PROC) -> Report:
    """Do what a configuration says with ``proc`` blobs in flight, and return the report."""
    configuration = load_text(text, "config.json", environment={})
    async with Engine(configuration, Options(proc=proc), mover=BlobMove.run, environment={}) as engine:

        async def copy(job: CopyJob) -> None:
            await _copy(engine, job)

        for rule in configuration.rules:
            await engine.plan(rule)
        jobs = [job for rule in configuration.rules for job in await engine.plan(rule)]
        await for_each(jobs, IMAGES_AT_ONCE, copy)
        return engine.outcomes.report()


async def _copy(engine: Engine, job: CopyJob) -> None:
    """Copy an image; after a transient error it is tried again, without a pause."""
    for attempt in range(1 + engine.options.retries):
        try:
            return await engine.copy(job)
        except Exception as error:
            last = attempt == engine.options.retries
            if last or not isinstance(error, ImageferryError) or not error.transient:
                return engine.give_up(job, error)
    return None


@contextmanager
def impatient() -> Iterator[None]:
    """Shorten the engine's pauses and time-outs, so that what would be retried after minutes is retried at once."""
    pause, timeout = retry._pause, httpx.Timeout(SILENCE, pool=None)

    rest = CircuitBreaker._rest

    async def quick_rest(changed: asyncio.Event, seconds: float | None) -> None:
        await rest(changed, None if seconds is None else seconds / QUICKER)

    def short(state: RetryCallState) -> float:
        return min(pause(state), LONGEST_PAUSE)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(retry, "_pause", short))
        stack.enter_context(mock.patch.object(client, "TIMEOUT", timeout))
        stack.enter_context(mock.patch.object(auth, "_EXTENSIONS", {"timeout": timeout.as_dict()}))
        stack.enter_context(mock.patch.object(upload_stream, "STALL_LIMIT", SILENCE))
        stack.enter_context(mock.patch.object(reader, "SLOW_AFTER", SLOW))
        stack.enter_context(mock.patch.object(transfer, "HOLD_LIMIT", SLOW))
        stack.enter_context(mock.patch.object(retry_budget, "FIRST_PAUSE", LONGEST_PAUSE))
        stack.enter_context(
            mock.patch.object(CircuitBreaker, "clock", staticmethod(lambda: time.monotonic() * QUICKER))
        )
        stack.enter_context(mock.patch.object(CircuitBreaker, "_rest", staticmethod(quick_rest)))
        yield


def main() -> int:
    """As a program, to be killed: copy what the first file says, and write the report to the second."""
    config, report = map(Path, sys.argv[1:])
    done = asyncio.run(run_engine(config.read_text()))
    report.write_text(done.to_json())
    print(*(image.error for image in done.images if image.error), sep="\n")
    return 1 if done.totals.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
