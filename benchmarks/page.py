"""The results as a page of Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from statistics import median

from benchmarks.row import Row
from benchmarks.summary import Summary, summarise

# Against these two of Imageferry's ways the others are held.
BASES = ("imageferry", "imageferry --no-history")

_LEGEND = """\
Every tool does the same work between the same registries of this machine, in turn, round after round, each time from
the same state. The figures are medians of the rounds that count; a round counts where the tool ended with status 0 and
every tag is at every destination with the source's digest.

- **wall**: the command's own time, in seconds, and the least and the most of the rounds.
- **first to last request**: seconds from the end of the first request at any registry to the end of the last, as their
  access logs grow. For Imageferry: the run without its start and its end, though a wait for Prefect between planning
  and copying is in it.
- **÷ imageferry**, **÷ --no-history**: wall time as a multiple of Imageferry's with a Prefect server of its own, and
  without Prefect. Above 1: slower than Imageferry.
- **CPU**: seconds, user and system, of the command and all its descendants, those too that outlive it.
- **peak**: MiB resident of the largest single process; ≤ where it is no more than the measuring program's own.
- **requests** and **served**: from the registries' access logs. Served are the bytes of the answers to GETs.
"""


@dataclass(frozen=True)
class Circumstances:
    """What the figures were got with: machine, versions, settings, and the titles of the works."""

    date: str
    arguments: str
    rounds: int
    scale: float
    machine: dict[str, str]
    versions: dict[str, str]
    settings: dict[str, str]
    titles: dict[str, str]
    absent: list[str]


def page(rows: list[Row], about: Circumstances, picture: str | None) -> str:
    """Return the whole page."""
    works = summarise(rows)
    parts = [f"# Imageferry and its peers, {about.date}", _LEGEND]
    if picture:
        parts.append(f"![wall time by work and tool]({picture})")
    for work, summaries in works.items():
        parts += [f"## {work}: {about.titles[work]}", _table(summaries), _kinds(summaries), *_lost(summaries)]
    parts += ["## Settings", _list(f"**{name}**: {text}" for name, text in about.settings.items())]
    if about.absent:
        parts.append(f"Not on this machine, and so not in the tables: {', '.join(about.absent)}.")
    parts += ["## Machine and versions", _pairs({"rounds": str(about.rounds), "scale": f"{about.scale:g}"})]
    parts += [_pairs(about.machine), _pairs(about.versions), f"Command: `python -m benchmarks {about.arguments}`"]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _table(summaries: list[Summary]) -> str:
    places = _places(summaries)
    heads = ["tool", "wall", "min–max", "first to last request", "÷ imageferry", "÷ --no-history", "CPU", "peak"]
    heads += [f"requests: {place}" for place in places] + ["served: source", "rounds"]
    bases = [next((each.wall for each in summaries if each.tool == name and each.counted), None) for name in BASES]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    lines += [_line(summary, places, bases) for summary in summaries]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(summary: Summary, places: list[str], bases: list[float | None]) -> list[str]:
    done, all_rounds = len(summary.counted), len(summary.counted) + len(summary.lost)
    if not summary.counted:
        blank = "n/a" if not summary.able else "lost"
        return [summary.tool, *[blank] * (8 + len(places)), f"0 of {all_rounds}" if summary.able else "n/a"]
    walls = [row.wall for row in summary.counted]
    return [
        summary.tool,
        _seconds(summary.wall),
        f"{_seconds(min(walls))}–{_seconds(max(walls))}",
        _seconds(summary.span),
        *(f"{summary.wall / base:.3g}" if base else "–" for base in bases),
        _seconds(summary.cpu),
        _peak(summary),
        *(f"{summary.requests(place):,}" for place in places),
        _bytes(summary.served("source")),
        f"{done} of {all_rounds}" if summary.lost else str(done),
    ]


def _kinds(summaries: list[Summary]) -> str:
    """Tell the requests by kind, of the last round that counts, in a part that can be folded."""
    lines = []
    for summary in summaries:
        if not summary.counted:
            continue
        told = []
        for place, counts in summary.counted[-1].requests.items():
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in Counter(counts).most_common())
            told.append(f"{place}: {kinds or 'none'}")
        lines.append(f"**{summary.tool}**: {'; '.join(told)}")
    if not lines:
        return ""
    return (
        f"<details><summary>Requests by kind, in the last round that counts</summary>\n\n{_list(lines)}\n\n</details>"
    )


def _lost(summaries: list[Summary]) -> list[str]:
    lines = [
        f"**{row.tool}**, round {row.round}: {_plain(row.lost)}"
        + (f" (after {_seconds(row.wall)} s)" if row.able else "")
        for row in chain.from_iterable(summary.lost for summary in summaries)
    ]
    return ["Lost rounds, and works that a tool cannot do:", _list(lines)] if lines else []


def short(rows: list[Row]) -> str:
    """Tell the medians in a few lines, for the terminal."""
    lines = []
    for work, summaries in summarise(rows).items():
        walls = [f"{each.tool} {median(row.wall for row in each.counted):.2f} s" for each in summaries if each.counted]
        lines.append(f"{work}: {', '.join(walls)}")
    return "\n".join(lines)


def _places(summaries: list[Summary]) -> list[str]:
    named = [row.requests for summary in summaries for row in summary.counted]
    return list(named[0]) if named else []


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _peak(summary: Summary) -> str:
    # The two are seldom the same to the page.
    unknown = all(row.peak <= row.least_peak + 2**20 for row in summary.counted)
    return ("≤ " if unknown else "") + f"{summary.peak / 2**20:.0f}"


def _bytes(value: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value} B"


def _plain(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`" if ":" in text else text


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _pairs(pairs: dict[str, str]) -> str:
    return _list(f"{name}: {value}" for name, value in pairs.items())
