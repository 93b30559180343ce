"""The command line: ``python -m benchmarks --works a,b,c --rounds 3 --tools imageferry,skopeo --scale 0.2``."""

from __future__ import annotations

import shlex
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from cyclopts import App

from benchmarks import tools, works
from benchmarks.machine import machine, versions
from benchmarks.page import Circumstances, short
from benchmarks.results import write
from benchmarks.rounds import Rounds
from benchmarks.row import Row
from benchmarks.storage import Stored
from benchmarks.tools.imageferry import PrefectSide
from benchmarks.tools.tool import Tool
from benchmarks.works import Work
from testkit.processes import MissingProgram

RESULTS = Path(__file__).resolve().parent / "results"

app = App(name="python -m benchmarks", help="Imageferry against its peers, on the same work in one run.")


@app.default
def bench(
    works: str = "",
    tools: str = "",
    rounds: int = 3,
    scale: float = 1.0,
    limit: float = 1800.0,
    results: Path = RESULTS,
    folder: Path | None = None,
) -> int:
    """Run the works with every tool that is on PATH, and write the results.

    Parameters
    ----------
    works
        Which works, a comma between: a, b, c (or c-http, c-https), d, e, f (or f-a, f-d), g; all where nothing is said.
    tools
        Which tools, a comma between; a first word such as imageferry or limit: means all of them; all that are here
        where nothing is said.
    rounds
        How often each tool does each work.
    scale
        Counts and sizes by this factor. At 1, work d moves about 1 GiB; above 1, its layers grow.
    limit
        Seconds after which a run is ended, and lost.
    results
        Where the results are written.
    folder
        Where the registries keep their data meanwhile; a new folder for temporary files where nothing is said.
    """
    try:
        wanted = works_named(works)
    except ValueError as error:
        return refuse(error)
    with (
        tempfile.TemporaryDirectory(prefix="imageferry-bench-", dir=folder) as place,
        PrefectSide(Path(place) / "prefect") as prefect,
    ):
        try:
            chosen = tools_named(tools, prefect)
            return _run(wanted, chosen, rounds, scale, limit, results, Path(place))
        except (ValueError, MissingProgram) as error:
            return refuse(error)
        except KeyboardInterrupt:
            say("interrupted; what was written is of the works that were finished")
            return 130


def works_named(text: str) -> list[Work]:
    """Return the works of a comma list. Raises ``ValueError``."""
    return works.chosen(_split(text))


def tools_named(text: str, prefect: PrefectSide) -> list[Tool]:
    """Return the tools of a comma list. Raises ``ValueError``."""
    return tools.chosen(tools.all_tools(prefect), _split(text))


def refuse(error: Exception) -> int:
    """Say what is wrong, and return the exit status."""
    print(f"benchmarks: {error}", file=sys.stderr)
    return 2


def _run(
    wanted: list[Work], chosen: list[Tool], rounds: int, scale: float, limit: float, results: Path, folder: Path
) -> int:
    found = {tool.name: version for tool in chosen if (version := tool.version())}
    here = [tool for tool in chosen if tool.name in found]
    absent = [tool.name for tool in chosen if tool.name not in found]
    about = Circumstances(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        arguments=shlex.join(sys.argv[1:]),
        rounds=rounds,
        scale=scale,
        machine=machine(),
        versions=versions() | found,
        settings={tool.name: tool.settings for tool in here},
        titles={},
        absent=absent,
    )
    say(f"tools: {', '.join(found)}" + (f"; not here: {', '.join(absent)}" if absent else ""))
    runs = Rounds(folder, scale, limit, say)
    rows: list[Row] = []
    for work in wanted:
        about.titles[work.name] = title(work, runs.content(work))
        say(f"{work.name}: {about.titles[work.name]}")
        # A limit that moves one blob has no place in the other works' tables.
        rows += runs.run(work, [tool for tool in here if work.one_blob or not tool.one_blob_only], rounds)
        written = write(rows, about, results)
    print(short(rows))
    print("\n".join(f"written: {file}" for file in written))
    return 0


def title(work: Work, stored: Stored) -> str:
    """Say what a work is, with the numbers of this run."""
    size = f"{stored.size / 2**30:.2f} GiB" if stored.size >= 2**29 else f"{stored.size / 2**20:.0f} MiB"
    return work.title.format(images=f"{stored.images:,}", size=size)


def say(line: str) -> None:
    """Tell how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _end(number: int, frame: FrameType | None) -> None:
    """End in order when asked to: registries and servers stop, and the folder goes."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(app())
