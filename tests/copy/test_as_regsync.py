"""Policies choose what regsync chooses, where both mean the same."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from testkit.registries.inprocess import FakeRegistry
from tests.copy.running import configured, outcomes, run

TAGS = "1.24.0 1.25.4 v1.25.5 2.0.0 2.1.3 1.25.5-alpine 1.25 latest stable bookworm 3.0.0-rc1 main-4f2c1d0"

# What regsync is given, and what says the same here. To regsync a variant is a pre-release.
SAME: list[tuple[dict[str, Any], Any]] = [
    ({"allow": ["1[.].*", "latest"]}, ["1.*", "latest"]),
    ({"allow": [".*5.*"], "deny": [".*-alpine"]}, {"include": ["/5/"], "exclude": ["*-alpine"]}),
    ({"deny": ["[a-z].*", "3.*"]}, {"exclude": ["/^(?:[a-z].*)$/", "3*"]}),
    ({"semverRange": [">=1.25 <2.1"], "deny": [".*-alpine"]}, {"versions": ">=1.25 <2.1", "variants": [""]}),
    ({"semverRange": ["<1.25", ">=2.0.1"]}, {"versions": "<1.25 || >=2.0.1", "prereleases": True}),
    ({"semverRange": [">=3.0.0-rc1"]}, {"versions": ">=3.0.0-rc1"}),
    ({"semverRange": [">=9"]}, {"versions": ">=9"}),
]


@pytest.mark.skipif(shutil.which("regsync") is None, reason="regsync is not installed")
async def test_the_same_tags_are_chosen(fake_source: FakeRegistry, tmp_path: Path) -> None:
    first, *others = TAGS.split()
    fake_source.image("a/app", first, [b"x"])
    for tag in others:
        fake_source.tag("a/app", tag, first)
    source = f"{fake_source.host}/a/app"
    targets = [f"{fake_source.host}/to{number}/app" for number in range(len(SAME))]
    pairs = list(zip(SAME, targets, strict=True))
    sync = [{"source": source, "target": to, "type": "repository", "tags": theirs} for (theirs, _), to in pairs]
    chosen = _choose_with_regsync(fake_source.host, sync, tmp_path)
    images = [{"from": source, "to": to, "tags": ours} for (_, ours), to in pairs]
    found = set(outcomes(await run(configured(images, fake_source), dry_run=True)))
    assert len(chosen) > 10
    assert found == chosen


def _choose_with_regsync(host: str, sync: list[dict[str, Any]], folder: Path) -> set[str]:
    """Return what `regsync check` would write."""
    config = {
        "version": 1,
        "creds": [{"registry": host, "tls": "disabled"}],
        "defaults": {"skipDockerConfig": True},
        "sync": sync,
    }
    path = folder / "regsync.json"
    path.write_text(json.dumps(config))
    done = subprocess.run(
        ["regsync", "check", "-c", str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(re.findall(r'"Image sync needed".* target=(\S+)', done.stderr))
