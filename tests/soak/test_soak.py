"""A short soak: some fixed seeds and a few kills. `make soak` is the long one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.course import sail
from tests.soak.kills import Killer
from tests.soak.places import kinds_here
from tests.soak.worlds import world

#: Between them: all kinds of registries and of troubles, indexes, several destinations, troubles that never end.
SEEDS = range(12)


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    """A killer of copies between the registries that are installed."""
    with Killer(tmp_path_factory.mktemp("kills"), kinds_here()) as killer:
        yield killer


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_seed_ends_as_it_must(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    tally = await sail(world(seed, kinds_here()), tmp_path / "seed")
    assert tally.wrong == {}
    assert tally.requests > 0


@pytest.mark.parametrize("number", range(3))
def test_a_copy_that_is_killed_is_finished_by_the_next_run(number: int, killer: Killer) -> None:
    tally = killer.kill(number)
    assert tally.wrong == {}
    assert tally.kills == 1
