"""The lists of promises and of registries' habits name tests that exist."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LISTS = [ROOT / "docs" / name for name in ("promises.md", "registry-habits.md")]

# A row that sends its reader to another list.
ELSEWHERE = re.compile(r"\]\([\w-]+\.md\)")


@functools.cache
def _tests_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("page", LISTS, ids=lambda path: path.stem)
def test_every_row_is_held_by_tests_that_exist(page: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text())
    assert len(named) > 40
    missing = [f"{file}::{name}" for file, name in named if name not in _tests_of(ROOT / file)]
    assert missing == []


@pytest.mark.parametrize("page", LISTS, ids=lambda path: path.stem)
def test_every_row_names_a_test(page: Path) -> None:
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ") and "| test |" not in line]
    assert [row for row in rows if "::test_" not in row and not ELSEWHERE.search(row)] == []
