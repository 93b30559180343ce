"""The list of habits names tests that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIST = ROOT / "docs" / "registry-habits.md"


def _tests_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_habit_is_held_by_a_test_that_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", LIST.read_text())
    assert len(named) > 60
    missing = [f"{file}::{name}" for file, name in named if name not in _tests_of(ROOT / file)]
    assert missing == []


def test_every_row_names_a_test() -> None:
    rows = [line for line in LIST.read_text().splitlines() if line.startswith("| ") and "habit | test" not in line]
    assert [row for row in rows if "::test_" not in row] == []
