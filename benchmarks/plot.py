"""The results as a picture: a panel a work, a bar a tool, on a logarithmic scale."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

from benchmarks.row import Row
from benchmarks.summary import Summary, summarise

COLUMNS = 3

_COLOURS = {
    "imageferry": "#0b5fa5",
    "imageferry +server": "#3d8fd1",
    "imageferry --no-history": "#9cc9ec",
    "limit": "#b9b9b9",
}
_PEER = "#d98032"


def draw(rows: list[Row], titles: dict[str, str], foot: str, file: Path) -> bool:
    """Draw the picture; false where matplotlib is not installed."""
    try:
        matplotlib = importlib.import_module("matplotlib")
        matplotlib.use("Agg")
        pyplot = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        return False
    works = summarise(rows)
    columns = min(COLUMNS, len(works))
    lines = math.ceil(len(works) / columns)
    most = max(map(len, works.values()))
    height = lines * (0.36 * most + 1.3) + 0.7
    figure, panels = pyplot.subplots(lines, columns, figsize=(6.2 * columns, height), squeeze=False)
    cells = list(panels.flat)
    for panel, (work, summaries) in zip(cells, works.items(), strict=False):
        _panel(panel, f"{work}: {titles[work]}", summaries)
    for panel in cells[len(works) :]:
        panel.axis("off")
    figure.suptitle("Wall time, median of the rounds (shorter is better, logarithmic)", fontsize=15)
    figure.text(0.995, 0.004, foot, ha="right", va="bottom", fontsize=8, color="#555555")
    figure.tight_layout(rect=(0, 0.02, 1, 0.985), h_pad=2.0, w_pad=2.0)
    figure.savefig(file, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return True


def _panel(panel: Any, title: str, summaries: list[Summary]) -> None:
    walls = [summary.wall for summary in summaries if summary.counted]
    least, most = (min(walls), max(walls)) if walls else (1.0, 10.0)
    left = 10 ** math.floor(math.log10(least) - 0.05)
    right = most * (most / left) ** 0.30
    panel.set_xscale("log")
    panel.set_xlim(left, right)
    for position, summary in enumerate(summaries):
        if summary.counted:
            panel.barh(position, summary.wall - left, left=left, color=_colour(summary.tool), height=0.72)
            text, place = f" {_label(summary.wall)}", summary.wall
        else:
            text, place = (" lost" if summary.able else " n/a"), left
        if summary.counted and summary.lost:
            text += f" ({len(summary.lost)} lost)"
        panel.text(place, position, text, va="center", fontsize=9, color="#222222")
    panel.set_yticks(range(len(summaries)), [summary.tool for summary in summaries], fontsize=9)
    panel.invert_yaxis()
    panel.set_title(title, fontsize=10.5, loc="left", wrap=True)
    panel.grid(axis="x", which="major", color="#dddddd")
    panel.set_axisbelow(True)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g} s")
    panel.xaxis.set_minor_formatter(lambda value, _: "")
    panel.tick_params(axis="x", labelsize=8)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def _label(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def _colour(tool: str) -> str:
    return _COLOURS.get("limit" if tool.startswith("limit") else tool, _PEER)
