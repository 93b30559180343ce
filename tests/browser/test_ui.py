"""The deployments as a person uses them in Prefect's UI."""

import pytest

from tests.browser.person import browsing
from tests.browser.stage import Stage
from tests.browser.walk import finds_no_markup_of_a_registry, looks_at_what_was_copied, looks_for_what_failed, runs_it

# It has a server and a worker of its own.
pytestmark = pytest.mark.xdist_group("browser")


def test_a_person_runs_a_deployment_and_finds_what_failed(ui: str, stage: Stage) -> None:
    stage.release()
    stage.slander()
    with browsing(ui) as me:
        runs_it(me, stage.config)
        run = me.page.url
        looks_for_what_failed(me)
        looks_at_what_was_copied(me)
        finds_no_markup_of_a_registry(me, run)
    assert stage.destination.tags("mirror/api") == ["v1.0", "v1.1", "v1.2"]
    assert stage.destination.tags("mirror/web") == ["v2.0"]
