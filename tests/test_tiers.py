"""The tiers of the tests."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.tiers import ROOT, TESTS, mark


@pytest.mark.parametrize("place", TESTS)
def test_what_is_marked_exists(place: str) -> None:
    path, *names = place.split("::")
    assert (ROOT / path).exists()
    for name in names:
        assert f" {name}(" in (ROOT / path).read_text() or f"class {name}:" in (ROOT / path).read_text()


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
