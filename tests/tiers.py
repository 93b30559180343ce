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

# Files and folders whose import alone brings Prefect, which takes seconds: `--quick` does not even read them.
IMPORTS_PREFECT = (
    "tests/browser",
    "tests/cli/test_only.py",
    "tests/deployments",
    "tests/flows/test_plan.py",
    "tests/orchestration/artifacts/test_keys.py",
    "tests/orchestration/artifacts/test_progress.py",
    "tests/orchestration/artifacts/test_rule_history.py",
    "tests/orchestration/artifacts/test_run_name.py",
    "tests/orchestration/artifacts/test_run_tags.py",
    "tests/orchestration/artifacts/test_summary.py",
    "tests/orchestration/blocks",
    "tests/orchestration/deployments",
    "tests/orchestration/server/test_client_call.py",
    "tests/orchestration/server/test_internals.py",
    "tests/orchestration/server/test_monitor.py",
    "tests/orchestration/server/test_prefect_import.py",
    "tests/orchestration/server/test_prefect_settings.py",
    "tests/orchestration/server/test_recorder.py",
    "tests/orchestration/test_final_states.py",
    "tests/orchestration/workers",
    "tests/test_wheel.py",
)

# Folders, files, classes and single tests, each with its markers.
TESTS = {
    "tests/browser": ("browser", "prefect", "registry", "slow"),
    "tests/cli/test_command.py::test_a_first_run_anywhere_needs_no_set_up": ("prefect",),
    "tests/config/test_document.py::test_the_parser_in_python_says_the_same": ("slow",),
    "tests/config/test_rules.py::test_ten_thousand_rules_are_as_many_rules": ("slow",),
    "tests/copy/test_access.py": ("slow",),
    "tests/copy/test_breaking.py": ("slow",),
    "tests/copy/test_broken_objects.py": ("slow",),
    "tests/copy/test_collisions.py": ("slow",),
    "tests/copy/test_containment.py": ("slow",),
    "tests/copy/test_content_coding.py": ("slow",),
    "tests/copy/test_ecr.py": ("slow",),
    "tests/copy/test_existing.py": ("slow",),
    "tests/copy/test_hostile_images.py": ("slow",),
    "tests/copy/test_interruption.py::test_a_copy_that_is_cancelled_leaves_no_session_at_a_real_registry": (
        "registry",
    ),
    "tests/copy/test_laggards.py": ("slow",),
    "tests/copy/test_lax_registries.py": ("slow",),
    "tests/copy/test_limits.py": ("slow",),
    "tests/copy/test_manifest_budget.py": ("slow",),
    "tests/copy/test_memory.py": ("slow",),
    "tests/copy/test_order.py::test_a_source_waits_for_a_destination_that_is_slow": ("slow",),
    "tests/copy/test_platforms.py": ("slow",),
    "tests/copy/test_reader.py::test_the_bytes_are_the_blobs_or_there_is_an_error": ("slow",),
    "tests/copy/test_recovery.py": ("slow",),
    "tests/copy/test_requests.py": ("slow",),
    "tests/copy/test_sharing.py": ("slow",),
    "tests/copy/test_upload_ways.py": ("slow",),
    "tests/copy/test_upstream.py": ("slow",),
    "tests/deployments/test_postgres.py": ("prefect",),
    "tests/orchestration/blocks/test_block_types.py::test_a_server_that_does_not_answer_is_told": ("slow",),
    "tests/orchestration/server/test_server_lost.py": ("prefect",),
    "tests/registry/http/test_patience.py": ("slow",),
    "tests/registry/http/test_proxies.py": ("slow",),
    "tests/registry/http/test_tls.py": ("slow",),
    "tests/registry/limits/test_limiter.py": ("slow",),
    "tests/registry/limits/test_limits.py": ("slow",),
    "tests/registry/limits/test_quota_pacing.py": ("slow",),
    "tests/registry/limits/test_registry_limits.py": ("slow",),
    "tests/registry/listings": ("slow",),
    "tests/registry/listings/test_catalog.py::test_a_real_registry_is_listed_whole": ("registry",),
    "tests/registry/test_any_answer.py": ("slow",),
    "tests/registry/test_raw_answers.py::test_any_bytes": ("slow",),
    "tests/soak/test_soak.py::test_a_copy_that_is_killed_is_finished_by_the_next_run": ("prefect", "registry", "slow"),
    "tests/soak/test_soak.py::test_a_seed_ends_as_it_must": ("registry", "slow"),
    "tests/test_demo.py": ("slow",),
    "tests/test_tiers.py::test_what_quick_reads_imports_no_prefect": ("slow",),
    "tests/test_wheel.py": ("slow",),
    "tests/testkit/test_distribution.py::test_a_taken_port_is_left_to_its_owner": ("registry",),
    "tests/testkit/test_inprocess.py::test_a_token_reaches_as_far_as_its_scopes": ("registry",),
    "tests/testkit/test_inprocess.py::test_its_images_are_images_to_skopeo": ("registry",),
    "tests/testkit/test_inprocess.py::test_skopeo_reads_a_signed_schema_1_manifest": ("registry",),
    "tests/testkit/test_inprocess.py::test_skopeo_signs_in": ("registry",),
    "tests/testkit/test_inprocess.py::test_tags_come_in_pages": ("registry",),
}


def imports_prefect(path: Path) -> bool:
    """Whether a test file, or all of a folder, is not read by `--quick`."""
    return path.is_relative_to(ROOT) and path.relative_to(ROOT).as_posix() in IMPORTS_PREFECT


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
