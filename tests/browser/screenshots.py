"""The pictures of `docs/`: `python -m tests.browser.screenshots [FOLDER]` in the project's folder."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page

from testkit.prefect.api import PrefectApi
from testkit.registries import actions
from testkit.registries.fault_rules import Fault
from tests.browser.person import Camera, Person, browsing
from tests.browser.stage import SOURCE, Stage, served, staged
from tests.browser.walk import looks_at_what_was_copied, looks_for_what_failed, runs_it

FOLDER = Path("docs/images")

# Bytes a second at which the source gives a blob: slowly enough for a run whose progress can be seen.
SLOW = 150_000


def main(folder: Path) -> None:
    """Take the pictures of a long run, and of one by the form."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, served(Path(scratch)) as url, staged(Path(scratch)) as stage:
        api = PrefectApi(f"{url}/api")
        _have_a_history(api, stage)
        with browsing(url, _camera(folder)) as me:
            _looks_at_the_progress(me, api, stage)
            stage.release()
            runs_it(me, stage.config)
            looks_for_what_failed(me, up_to_date=15)
            looks_at_what_was_copied(me)


def _camera(folder: Path) -> Camera:
    def take(page: Page, name: str) -> None:
        # The drawing of the run's graph takes a moment that the page tells nobody of.
        page.wait_for_timeout(2_500)
        page.screenshot(path=folder / f"{name}.png")
        print(folder / f"{name}.png")

    return take


def _have_a_history(api: PrefectApi, stage: Stage) -> None:
    """Run the deployment twice for one rule, so that its table has rows."""
    for tag in ("v0.8", "v0.9"):
        stage.source.image("team/api", tag, [f"api {tag}".encode() * 100_000])
        run = api.start("sync/ad-hoc", config=stage.config, only=[f"{SOURCE}/team/api"]).json()["id"]
        api.ended(run)


def _looks_at_the_progress(me: Person, api: PrefectApi, stage: Stage) -> None:
    """Look at a run while it copies."""
    stage.source.image("team/api", "v0.9.1", [bytes(3_000_000)])
    stage.source.rules.append(Fault("blob-get", actions.slowly(SLOW)))
    run = api.start("sync/ad-hoc", config=stage.config, only=[f"{SOURCE}/team/api"]).json()["id"]
    me.page.goto(f"{me.url}/v2/runs/flow-run/{run}?tab=Artifacts")
    me.sees_once_it_is_there("imageferry-progress")
    me.photographs("progress")
    stage.source.rules.clear()
    api.ended(run)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else FOLDER)
