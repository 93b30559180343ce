"""The files that a run leaves."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

from benchmarks.page import Circumstances, page
from benchmarks.plot import draw
from benchmarks.row import Row


def write(rows: list[Row], about: Circumstances, folder: Path) -> list[Path]:
    """Write page, picture and raw figures under the run's date and as the latest; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    foot = f"{about.date}; {about.machine['processor']}; scale {about.scale:g}, rounds: {about.rounds}"
    drawn = draw(rows, about.titles, foot, folder / "latest.png")
    raw = {"circumstances": dataclasses.asdict(about), "rows": [row.as_json() for row in rows]}
    written = []
    for name in (about.date, "latest"):
        if drawn and name != "latest":
            shutil.copyfile(folder / "latest.png", folder / f"{name}.png")
        markdown = folder / f"{name}.md"
        markdown.write_text(page(rows, about, f"{name}.png" if drawn else None), encoding="utf-8")
        figures = folder / f"{name}.json"
        figures.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
        written += [markdown, figures]
    return written + ([folder / "latest.png"] if drawn else [])
