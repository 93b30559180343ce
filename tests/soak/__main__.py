"""The command line: ``python -m tests.soak``; ``--seed 7`` and ``--kill 7`` run one of them again."""

import asyncio
import faulthandler
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from cyclopts import App

from tests.soak.counts import Counts
from tests.soak.kills import Killer
from tests.soak.registries import kinds_here
from tests.soak.run_scenario import HANGS_AFTER, run_scenario
from tests.soak.scenarios import make_scenario

SEEDS, KILLS = 300, 100

# Seconds between two lines that say how far it is.
_SPEAK_EVERY = 20.0

app = App(
    name="python -m tests.soak",
    help="Copies between registries that fail at random, and copies killed on their way.",
)


@app.default
def soak(
    *,
    seeds: int | None = None,
    first: int = 0,
    seed: int | None = None,
    kills: int | None = None,
    kill: int | None = None,
    json: Path | None = None,
) -> int:
    """Run seeds and kills; return 1 where one of them ended otherwise than it must.

    Parameters
    ----------
    seeds
        Run this many seeds. Where nothing is asked for: 300 seeds and 100 kills.
    first
        The number of the first seed, and of the first kill.
    seed
        Run this one alone.
    kills
        Kill this many copies.
    kill
        Do this kill alone.
    json
        Write the counts to this file too.
    """
    if seeds is seed is kills is kill is None:
        seeds, kills = SEEDS, KILLS
    chosen_seeds = [seed] if seed is not None else list(range(first, first + (seeds or 0)))
    chosen_kills = [kill] if kill is not None else list(range(first, first + (kills or 0)))
    folder = Path(tempfile.mkdtemp(prefix="imageferry-soak-"))
    counts = _run(folder, chosen_seeds, chosen_kills)
    print(counts.text(), flush=True)
    if json is not None:
        json.write_text(counts.to_json() + "\n")
    if counts.wrong:
        print(f"what they left is in {folder}", flush=True)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def _run(folder: Path, seeds: list[int], kills: list[int]) -> Counts:
    counts, kinds = Counts(), kinds_here()
    begun = spoken = time.monotonic()
    print(f"registries: {', '.join(kinds)}; files in {folder}", flush=True)
    with Killer(folder, kinds) as killer:

        def run_seed(number: int) -> Counts:
            return asyncio.run(run_scenario(make_scenario(number, kinds), folder / f"seed-{number}"))

        for work, number in (*((run_seed, seed) for seed in seeds), *((killer.kill, kill) for kill in kills)):
            # A loop that is blocked cannot time itself out: this tells where it stands, and ends the process.
            faulthandler.dump_traceback_later(3 * HANGS_AFTER, exit=True)
            done = work(number)
            faulthandler.cancel_dump_traceback_later()
            counts.add(done)
            counts.seconds = time.monotonic() - begun
            for what, why in done.wrong.items():
                print("\n  ".join([f"wrong: python -m tests.soak {what}", *why]), flush=True)
            if time.monotonic() - spoken > _SPEAK_EVERY:
                spoken = time.monotonic()
                print(counts.line(len(seeds), len(kills)), flush=True)
    return counts


def _interrupted(number: int, frame: FrameType | None) -> None:
    """End as by Ctrl-C, so that registries and Prefect's server are stopped."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupted)
    sys.exit(app(result_action="return_value"))
