"""A Prefect server with its UI, the deployments on it, a worker, and registries to copy between."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.person import chromium
from tests.browser.stage import Stage, served, staged


@pytest.fixture
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the UI of a server with deployments and a worker; no server where there is no browser."""
    chromium()
    with served(tmp_path_factory.mktemp("ui")) as url:
        yield url


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """The registries, and the configuration between them."""
    with staged(tmp_path) as stage:
        yield stage
