"""The lint of lengths and of names that say nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "sizes.py"


def run(folder: Path) -> tuple[int, list[str]]:
    """Check a folder: the exit status, and what is printed, without the folder's own path."""
    done = subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, [line.removeprefix(f"{folder}/") for line in done.stdout.splitlines()]


def function(lines: int, name: str = "long") -> str:
    return f"def {name}():\n" + "    x = 1\n" * (lines - 1)


def test_what_is_within_the_limits_is_silent(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(function(50) + "\n" * 350)
    assert run(tmp_path) == (0, [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("\n" * 401, "a.py:1: 401 lines, more than 400"),
        (function(51), "a.py:1: long has 51 lines, more than 50"),
        ("async " + function(51), "a.py:1: long has 51 lines, more than 50"),
        ("@decorated\n" + function(50), "a.py:2: long has 51 lines, more than 50"),
        (
            "class A:\n" + function(51).replace("def", " def").replace("    x", "     x"),
            "a.py:2: long has 51 lines, more than 50",
        ),
    ],
)
def test_what_is_too_long_is_printed_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "a.py").write_text(text)
    assert run(tmp_path) == (1, [problem])


@pytest.mark.parametrize(
    "name", ["utils.py", "helpers.py", "common.py", "misc.py", "base.py", "manager.py", "utils/__init__.py"]
)
def test_a_name_that_says_nothing_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    status, problems = run(tmp_path)
    assert status == 1
    assert len(problems) == 1
    assert problems[0].startswith(
        f"{name}:1: a module called {name.partition('/')[0].removesuffix('.py')} may hold anything"
    )
