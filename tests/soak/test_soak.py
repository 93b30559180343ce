"""A short soak: some fixed seeds and a few kills. `make soak` is the long one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.faults import TROUBLES
from tests.soak.kills import Killer
from tests.soak.registries import kinds_here
from tests.soak.run_scenario import run_scenario
from tests.soak.scenarios import KINDS, make_scenario

# Chosen so that they are quick and have, between them, all that the first test asks for.
SEEDS = (1, 4, 8, 9, 12, 16, 22, 32, 36, 45, 50, 53, 65)


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    """A killer of copies between the registries that are installed."""
    with Killer(tmp_path_factory.mktemp("kills"), kinds_here()) as killer:
        yield killer


def test_the_seeds_have_everything_between_them() -> None:
    worlds = [make_scenario(seed) for seed in SEEDS]
    assert {site.kind for each in worlds for site in each.sites} == set(KINDS)
    assert {each.source.kind for each in worlds} == set(KINDS)
    sites = [site for each in worlds for site in (each.source, *each.sites)]
    assert {trouble.kind for site in sites for trouble in site.troubles} == set(TROUBLES)
    assert {len(each.destinations) for each in worlds} == {1, 2, 3}
    assert {each.lasts for each in worlds} == {True, False}
    assert any(image.children for each in worlds for image in each.images)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_seed_ends_as_it_must(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    counts = await run_scenario(make_scenario(seed, kinds_here()), tmp_path / "seed")
    assert counts.wrong == {}
    assert counts.requests > 0


@pytest.mark.parametrize("number", range(3))
def test_a_copy_that_is_killed_is_finished_by_the_next_run(number: int, killer: Killer) -> None:
    counts = killer.kill(number)
    assert counts.wrong == {}
    assert counts.kills == 1
