"""One run of the engine in a process of its own, whose memory is measured: ``python -m tests.copy.measured WHAT``.

``plan`` compares, ``copy`` copies an image after the other too, ``run`` as many at a time as a run does. The
configuration comes on standard input; what was measured goes to standard output as JSON, in bytes.
"""

import asyncio
import json
import re
import sys
from pathlib import Path

from imageferry.config import load_text
from imageferry.copy.blob_move import BlobMove
from imageferry.copy.engine import Engine
from imageferry.copy.options import Options
from imageferry.copy.runner import LocalRunner


def peak() -> int:
    """Return the most memory that this process has had, in bytes: its own, not what its parent had when it began it."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index] # Linux always says it


async def measure(text: str, what: str) -> dict[str, int]:
    """Plan all rules, copy what there is to copy, and give the memory before and at the most."""
    configuration = load_text(text, "config.json", environment={})
    async with Engine(configuration, Options(), mover=BlobMove.run, environment={}) as engine:
        idle = peak()
        await engine.plan_all(configuration.rules)
        jobs = [job for rule in configuration.rules for job in await engine.plan(rule)]
        if what == "copy":
            for job in jobs:
                await engine.copy(job)
        elif what == "run":
            await LocalRunner(engine).run(configuration.rules)
        report = engine.outcomes.report()
        return {
            "idle": idle,
            "peak": peak(),
            "to_copy": len(jobs),
            "up_to_date": report.totals.up_to_date,
            "copied": report.totals.copied,
            "failed": report.totals.failed,
            "bytes_written": report.totals.bytes_written,
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.stdin.read(), sys.argv[1]))))
