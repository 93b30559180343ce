"""The tiers of the tests, by marker: what a test needs beside Python, and whether it is slow.

Most of it shows in the fixtures of a test. What no fixture shows stands in `TESTS`.
"""

from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Who uses one of these fixtures, directly or through another, needs what the marker says.
FIXTURES = {
    "registry": {
        "source_registry",
        "destination_registry",
        "password_registry",
        "tls_registry",
        "client_certificate_registry",
        "third",
        "image_maker",
    },
    "prefect": {"prefect_server", "bare_server"},
    "browser": {"ui"},
    # A process for each test.
    "slow": {"without_prefect"},
}

# Folders, files and single tests, each with its markers.
TESTS = {
    "tests/browser": ("browser", "prefect", "registry", "slow"),
    "tests/cli/test_command.py::test_a_first_run_anywhere_needs_no_set_up": ("prefect",),
    "tests/copy/test_memory.py": ("slow",),
    "tests/deployments/test_postgres.py": ("prefect",),
    "tests/orchestration/server/test_server_lost.py": ("prefect",),
    "tests/soak/test_soak.py::test_a_seed_ends_as_it_must": ("registry", "slow"),
    "tests/soak/test_soak.py::test_a_copy_that_is_killed_is_finished_by_the_next_run": ("prefect", "registry", "slow"),
    "tests/testkit/test_inprocess.py::test_its_images_are_images_to_skopeo": ("registry",),
    "tests/testkit/test_inprocess.py::test_skopeo_reads_a_signed_schema_1_manifest": ("registry",),
    "tests/testkit/test_inprocess.py::test_skopeo_signs_in": ("registry",),
}


def mark(items: Iterable[pytest.Item]) -> None:
    """Mark each test with its tiers."""
    for item in items:
        for marker in _markers_of(item):
            item.add_marker(marker)


def _markers_of(item: pytest.Item) -> set[str]:
    used = set(getattr(item, "fixturenames", ()))
    markers = {marker for marker, fixtures in FIXTURES.items() if used & fixtures}
    for place in _places_of(item):
        markers.update(TESTS.get(place, ()))
    return markers


def _places_of(item: pytest.Item) -> Iterable[str]:
    """Yield a test's folders, its file, its class if it has one, and the test without its parameters."""
    file = item.path.relative_to(ROOT)
    yield from (folder.as_posix() for folder in file.parents)
    yield file.as_posix()
    names = item.nodeid.partition("[")[0].split("::")[1:]
    for count in range(1, len(names) + 1):
        yield "::".join([file.as_posix(), *names[:count]])
