"""The names of flow runs."""

from prefect.utilities.names import generate_slug

from orchestration.artifacts.run_name import LONGEST, name_run


def test_a_run_is_named_after_its_configuration() -> None:
    assert name_run("armored-cat", "nightly", dry_run=False) == "nightly"
    assert (
        name_run("armored-cat", "/etc/imageferry/config.yaml", dry_run=True) == "/etc/imageferry/config.yaml, dry run"
    )
    assert name_run("armored-cat", f"/srv/{'x' * LONGEST}/config.yaml", dry_run=False) == "…/config.yaml"


def test_every_name_that_prefect_makes_up_is_replaced() -> None:
    assert {name_run(generate_slug(2), "nightly", dry_run=False) for _ in range(500)} == {"nightly"}


def test_a_name_that_somebody_has_chosen_stays() -> None:
    for chosen in ("release-42", "nightly-copy", "armored cat", "armored-cat-2", "config.json", ""):
        assert name_run(chosen, "nightly", dry_run=True) == chosen
