"""A run's progress: a live picture on a terminal, a line a finished image elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from imageferry.report.outcomes import ImageOutcome, Outcome, Outcomes
from imageferry.text import escape_control, format_count, format_duration, format_size, short_digest

# Pictures a second, and the seconds over which the rate is taken.
REFRESH = 5
RATE_WINDOW = 5.0

_VERBS = {
    Outcome.COPIED: "copied",
    Outcome.UP_TO_DATE: "up to date",
    Outcome.SKIPPED: "skipped",
    Outcome.FAILED: "failed",
    Outcome.WOULD_COPY: "would copy",
}


def format_line(image: ImageOutcome) -> str:
    """Return the line of one finished image."""
    text = f"{_VERBS[image.outcome]:<10} {image.source} -> {image.destination}"
    if image.outcome is Outcome.COPIED:
        text += f"  {format_size(image.bytes)} in {format_duration(image.seconds)}"
    if image.error or image.warning:
        text += f": {image.error or image.warning}"
    return escape_control(text)


class LiveProgress:
    """The picture of a run on a terminal. ``say`` sets the line below it: what is waited for."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        self._outcomes: Outcomes | None = None
        self._saying = ""
        self._samples: list[tuple[float, int]] = []

    def watch(self, outcomes: Outcomes) -> None:
        """Show these outcomes from now on."""
        self._outcomes = outcomes

    def say(self, text: str) -> None:
        """Say what is waited for; nothing ends it."""
        self._saying = text

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Show the picture while the context is entered; it leaves nothing behind."""
        with Live(
            get_renderable=self._picture,
            console=self._console,
            refresh_per_second=REFRESH,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield

    def _picture(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self._outcomes is not None and self._outcomes.planned:
            parts += [self._images(self._outcomes), *self._blobs(self._outcomes)]
            parts += [Text(f"{wait}", style="yellow") for wait in self._outcomes.waits.now()]
        if self._saying:
            parts.append(Text(self._saying, style="dim"))
        return Group(*parts)

    def _images(self, outcomes: Outcomes) -> RenderableType:
        done, totals = len(outcomes.images), outcomes.totals
        row = Table.grid(padding=(0, 1))
        figures = f"{done:,} of {format_count(outcomes.planned, 'image')}"
        moved = f"{format_size(totals.bytes_written)} sent, {format_size(self._rate(totals.bytes_written))}/s"
        failed = Text(f"{totals.failed:,} failed", style="red") if totals.failed else Text("")
        row.add_row(ProgressBar(outcomes.planned, done, width=24), figures, moved, failed)
        return row

    def _blobs(self, outcomes: Outcomes) -> Iterator[RenderableType]:
        for digest, (done, size) in list(outcomes.active_blobs.items())[:8]:
            row = Table.grid(padding=(0, 1))
            row.add_row(
                ProgressBar(max(size, 1), done, width=24, style="grey23", complete_style="cyan"),
                Text(short_digest(digest), style="cyan"),
                f"{format_size(done)} of {format_size(size)}",
            )
            yield row

    def _rate(self, total: int) -> float:
        """Bytes a second over the last ``RATE_WINDOW`` seconds."""
        now = time.monotonic()
        self._samples = [sample for sample in self._samples if now - sample[0] <= RATE_WINDOW]
        self._samples.append((now, total))
        (begun, first), (ended, last) = self._samples[0], self._samples[-1]
        return (last - first) / (ended - begun) if ended > begun else 0.0


class LineProgress:
    """A line for each image as it is finished, where there is no terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def watch(self, outcomes: Outcomes) -> None:
        """Write a line for each of these outcomes."""
        outcomes.listeners.append(lambda image: print(format_line(image), file=self._stream, flush=True))
        outcomes.waits.listeners.append(lambda wait: print(escape_control(str(wait)), file=self._stream, flush=True))

    def say(self, text: str) -> None:
        """Lines are for what is finished: nothing is said of what is waited for."""

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Do nothing of its own."""
        yield


class NoProgress(LineProgress):
    """Nothing, for ``--quiet``."""

    def watch(self, outcomes: Outcomes) -> None:
        """Show nothing."""


def progress_for(stream: TextIO, *, quiet: bool) -> LiveProgress | LineProgress:
    """Return the progress that fits where it is shown."""
    if quiet:
        return NoProgress(stream)
    return LiveProgress(stream) if stream.isatty() else LineProgress(stream)
