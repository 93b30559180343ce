"""The fixtures that all tests share: registries, and names in them that no other test uses."""

import os
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from testkit.images.making import ImageMaker
from testkit.processes import AbsentVersion, MissingProgram
from testkit.registries.distribution import DistributionRegistry
from testkit.registries.inprocess import FakeRegistry
from tests import tiers

pytest_plugins = ["tests.prefect_fixtures"]

# Fewer examples, for `make quick`: pytest --hypothesis-profile=dev. Of so few a slow one is no sign of a slow strategy.
settings.register_profile("dev", max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# A slow machine is no fault of an example.
settings.register_profile("all", deadline=None)
settings.load_profile("all")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag of `make quick`."""
    parser.addoption("--quick", action="store_true", help="read no test file whose import brings Prefect")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what `--quick` does not read; say nothing of the rest."""
    return True if config.getoption("quick") and tiers.imports_prefect(collection_path) else None


# First, so that `-m` finds the marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests with their tiers."""
    tiers.mark(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """Skip a test whose fixtures want a program that is not installed."""
    with _skipping():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Skip a test that itself wants a program that is not installed."""
    with _skipping():
        return (yield)


@contextmanager
def _skipping() -> Iterator[None]:
    """Skip the test for want of a program; where nothing may be missing, fail it."""
    try:
        yield
    except MissingProgram as missing:
        if os.environ.get("CI") == "true" and not isinstance(missing, AbsentVersion):
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


def _running(registry: DistributionRegistry) -> Iterator[DistributionRegistry]:
    with registry:
        yield registry


@pytest.fixture(scope="session")
def source_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributionRegistry]:
    """The real registry, plain, to read from."""
    yield from _running(DistributionRegistry(tmp_path_factory.mktemp("source")))


@pytest.fixture(scope="session")
def destination_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributionRegistry]:
    """The real registry, plain, to write to."""
    yield from _running(DistributionRegistry(tmp_path_factory.mktemp("destination")))


@pytest.fixture(scope="session")
def password_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributionRegistry]:
    """The real registry, which wants the name `ferry` and its `.password`."""
    folder = tmp_path_factory.mktemp("password")
    yield from _running(DistributionRegistry(folder, username="ferry", password=secrets.token_urlsafe(12)))


@pytest.fixture(scope="session")
def tls_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributionRegistry]:
    """The real registry over TLS, with a certificate that `.ca_file` vouches for."""
    yield from _running(DistributionRegistry(tmp_path_factory.mktemp("tls"), tls=True))


@pytest.fixture(scope="session")
def client_certificate_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributionRegistry]:
    """The real registry over TLS, which wants the certificate `.client`."""
    yield from _running(DistributionRegistry(tmp_path_factory.mktemp("clients"), client_certificates=True))


@pytest.fixture
def fake_source() -> Iterator[FakeRegistry]:
    """A registry in process, to read from."""
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def fake_destination() -> Iterator[FakeRegistry]:
    """A registry in process, to write to."""
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def repository() -> str:
    """A repository's name that no other test uses."""
    return f"t{secrets.token_hex(4)}/app"


@pytest.fixture(scope="session")
def image_maker(tmp_path_factory: pytest.TempPathFactory) -> ImageMaker:
    """A maker of images with skopeo and umoci, which makes each only once."""
    return ImageMaker(tmp_path_factory.mktemp("images"))


@pytest.fixture
def no_docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the user's docker config."""
    folder = tmp_path / "docker"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder
