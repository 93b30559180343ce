"""Refuse files and functions that are too long, and modules with names that say nothing.

    python .ci/sizes.py [FOLDER ...]

Prints what is wrong, one a line, and ends with 1 if anything is. A function's lines are all from the first decorator to
the end.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MOST_FILE_LINES = 400
MOST_FUNCTION_LINES = 50
# Names of rooms for everything: what is in them can be anywhere.
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager"}
FOLDERS = ("imageferry", "cli", "flows", "tasks", "orchestration", "deployments", "demo")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def main(folders: list[str]) -> int:
    """Check all Python files in the folders, and return the exit status."""
    problems = [problem for folder in folders for file in sorted(Path(folder).rglob("*.py")) for problem in check(file)]
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems else 0


def check(file: Path) -> Iterator[str]:
    """Yield what is wrong with a file, as `path:line: problem`."""
    text = file.read_text()
    name = file.parent.name if file.stem == "__init__" else file.stem
    if name in VAGUE_NAMES:
        yield f"{file}:1: a module called {name} may hold anything: name what is in it"
    lines = len(text.splitlines())
    if lines > MOST_FILE_LINES:
        yield f"{file}:1: {lines} lines, more than {MOST_FILE_LINES}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Function) and (length := _length(node)) > MOST_FUNCTION_LINES:
            yield f"{file}:{node.lineno}: {node.name} has {length} lines, more than {MOST_FUNCTION_LINES}"


def _length(function: Function) -> int:
    first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
    return (function.end_lineno or first) - first + 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(FOLDERS)))
