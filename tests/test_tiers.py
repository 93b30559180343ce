"""The tiers of the tests."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tiers import IMPORTS_PREFECT, ROOT, TESTS, imports_prefect, mark


@pytest.mark.parametrize("place", TESTS)
def test_what_is_marked_exists(place: str) -> None:
    path, *names = place.split("::")
    assert (ROOT / path).exists()
    for name in names:
        assert f" {name}(" in (ROOT / path).read_text() or f"class {name}:" in (ROOT / path).read_text()


@pytest.mark.parametrize("place", IMPORTS_PREFECT)
def test_what_is_not_read_exists(place: str) -> None:
    assert (ROOT / place).exists()


def test_what_quick_reads_imports_no_prefect() -> None:
    tests = (ROOT / "tests").rglob("test_*.py")
    read = [path for path in tests if not any(map(imports_prefect, (path, *path.parents)))]
    modules = [path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in read]
    assert len(modules) > 50
    program = f"import sys, {', '.join(modules)}\nassert 'prefect' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("test", "fixtures", "markers"),
    [
        ("tests/test_text.py::TestSize::test_bytes[1-1 B]", [], set()),
        ("tests/copy/test_order.py::test_any", ["repository", "source_registry"], {"registry"}),
        ("tests/copy/test_order.py::test_any", ["command", "prefect_server", "prefect_home"], {"prefect"}),
        ("tests/copy/test_limits.py::test_a_limited_bandwidth_is_no_stall[source]", ["fake_source"], {"slow"}),
        ("tests/copy/test_recovery.py::test_any", ["destination_registry"], {"registry", "slow"}),
        ("tests/browser/test_ui.py::test_any", ["ui"], {"browser", "prefect", "registry", "slow"}),
    ],
)
def test_a_test_has_the_markers_of_its_fixtures_and_of_its_place(
    test: str, fixtures: list[str], markers: set[str]
) -> None:
    found: list[str] = []
    item: Any = SimpleNamespace(
        path=ROOT / test.partition("::")[0], nodeid=test, fixturenames=fixtures, add_marker=found.append
    )
    mark([item])
    assert sorted(found) == sorted(markers)
