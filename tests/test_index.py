"""The index of the tests in `tests/README.md` covers all modules and names files that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
FOLDERS = ("imageferry", "cli", "flows", "tasks", "orchestration", "deployments")
ROWS = re.findall(r"^\| `([\w/]+\.py)` \| .+ \| (.+) \|$", (TESTS / "README.md").read_text(), re.MULTILINE)


def own_test_file(module: Path) -> Path:
    """Return where the tests of this module alone would be; those of the engine are not in a folder of its name."""
    folder = module.relative_to("imageferry").parent if module.parts[0] == "imageferry" else module.parent
    return TESTS / folder / f"test_{module.name}"


def test_every_module_has_a_test_file_of_its_name_or_a_row() -> None:
    modules = [path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    named = {module for module, _ in ROWS}
    assert len(modules) > 100
    missing = [
        module.as_posix()
        for module in modules
        if module.name != "__init__.py" and not own_test_file(module).exists() and module.as_posix() not in named
    ]
    assert sorted(missing) == []


def test_every_row_names_a_module_and_tests_that_exist() -> None:
    named = [path for module, tests in ROWS for path in (module, *re.findall(r"`([^`]+)`", tests))]
    assert [path for path in named if not (ROOT / path).is_file()] == []
    assert [module for module, tests in ROWS if "`tests/" not in tests] == []


def test_no_module_has_two_rows() -> None:
    modules = [module for module, _ in ROWS]
    assert sorted(set(modules)) == sorted(modules)
