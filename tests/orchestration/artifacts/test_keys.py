"""The keys of a run's artifacts."""

import re

from orchestration.artifacts.keys import origin


def test_deployments_configurations_and_dry_runs_keep_apart() -> None:
    assert origin("scheduled", "nightly", dry_run=False) == "scheduled-nightly"
    assert origin("ad-hoc", "config.json", dry_run=True) == "ad-hoc-config-json-dry-run"
    assert origin("", "config.json", dry_run=False) == "config-json"
    keys = [
        origin(deployment, config, dry_run=dry_run)
        for deployment in ("scheduled", "ad-hoc", "")
        for config in ("config.json", "/a/config.json", "/b/config.json", "x" * 300, "x" * 301)
        for dry_run in (True, False)
    ]
    assert len(set(keys)) == len(keys)
    # What Prefect takes.
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", each) and len(each) < 140 for each in keys), keys


def test_a_key_is_the_same_in_every_run() -> None:
    assert origin("scheduled", "/etc/imageferry/config.yaml", dry_run=False) == "scheduled-config-yaml-25eaed"
