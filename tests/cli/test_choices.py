"""What the terminal says of the tags that rules choose."""

import io

from rich.console import Console

from cli.terminal.summary import CHOICES_LISTED, print_summary
from imageferry.report.outcomes import Outcomes, Selection


def printed(*selections: Selection) -> str:
    outcomes = Outcomes()
    outcomes.selections += selections
    stream = io.StringIO()
    print_summary(outcomes.report(), Console(file=stream, width=80, highlight=False))
    return stream.getvalue()


def choice(name: str, dropped: int) -> Selection:
    lines = (f"{name}: 3 tags; include 1: 1 selected", "dropped as no version: 1 (\x1b[2J)")
    return Selection(name, name, 3, 3 - dropped, {"include": dropped} if dropped else {}, lines=lines)


def test_a_line_for_each_rule_that_left_tags_out() -> None:
    text = printed(choice("a.example/all", 0), choice("a.example/some", 2))
    assert text.startswith(
        "a.example/some: 3 tags; include 1: 1 selected\n  dropped as no version: 1 (\\x1b[2J)\ncompleted: 0 copied"
    )


def test_many_rules_are_a_number() -> None:
    text = printed(*(choice(f"a.example/{number}", 1) for number in range(10_000)))
    assert text.count("include 1: 1 selected") == CHOICES_LISTED
    assert f"and {10_000 - CHOICES_LISTED:,} more rules choose tags: see the report" in text
