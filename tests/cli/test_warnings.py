"""What the terminal says of images that are there with another digest than at the source."""

import io
from datetime import UTC, datetime

from rich.console import Console

from cli.terminal.progress import format_line
from cli.terminal.summary import WARNINGS_LISTED, print_summary
from imageferry.report.outcomes import ImageOutcome, Outcome, Report, Status, Totals


def test_warnings_are_shown_with_their_images_and_the_rest_is_a_number() -> None:
    images = [
        ImageOutcome(f"a.example/a:{n}", f"b.example/a:{n}", Outcome.COPIED, warning="stored it as\x1b[2J another")
        for n in range(WARNINGS_LISTED + 5)
    ]
    report = Report(started=datetime.now(UTC), seconds=1, status=Status.COMPLETED, totals=Totals(), images=images)
    shown = io.StringIO()
    print_summary(report, Console(file=shown, width=80))
    lines = shown.getvalue().split("\n")
    assert f"{WARNINGS_LISTED + 5} images with a warning:" in lines
    assert lines[lines.index("  a.example/a:0 -> b.example/a:0") + 1] == "    stored it as\\x1b[2J another"
    assert lines.count("    stored it as\\x1b[2J another") == WARNINGS_LISTED
    assert "  and 5 more: see the report" in lines
    assert format_line(images[0]).endswith("stored it as\\x1b[2J another")
