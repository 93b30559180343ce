"""What a person does with a deployment: run it by its form, and look for what failed."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.person import Person
from tests.browser.stage import DESTINATION, HOSTILE_HOST, MISSING, SOURCE


def runs_it(me: Person, config: str) -> None:
    """Fill in the form of sync/ad-hoc, wrong and then right, and wait for the end of the run."""
    me.opens_the_form_of("ad-hoc")
    me.writes("config", config)
    me.adds_to("platforms", "linux")
    me.submits()
    expect(me.refusal_of("platforms")).to_contain_text("linux")
    me.photographs("form")
    me.writes("platforms", "linux/amd64")
    # Prefect's form only looks again with the first press after a refusal.
    me.submits()
    expect(me.refusal_of("platforms")).to_have_count(0)
    me.submits_until_it_is_taken()
    me.opens_the_run()
    me.waits_for_the_state("Failed")


def looks_for_what_failed(me: Person, up_to_date: int = 12) -> None:
    """Find the failed image in the run's log, its cause, and the task run in which it failed."""
    me.opens_tab("Logs")
    told = f"failed {MISSING} -> {DESTINATION}/mirror/web:v2.1"
    me.sees_once_it_is_there(told)
    me.page.get_by_text(told).first.scroll_into_view_if_needed()
    me.photographs("run")
    me.opens_artifact("imageferry-summary")
    me.sees("1 image failed", "404 Not Found", "Rules that had work")
    expect(me.page.get_by_role("row", name=re.compile(r"^copied"))).to_contain_text("4")
    expect(me.page.get_by_role("row", name=re.compile(r"^up to date"))).to_contain_text(f"{up_to_date}")
    me.photographs("summary")
    me.opens(MISSING)
    me.sees("copy v2.1", "404 Not Found")
    me.photographs("failed-image")
    me.goes_back()


def finds_no_markup_of_a_registry(me: Person, run: str) -> None:
    """Look for the text of a hostile registry in the summary and the table, each in both of Prefect's UIs."""
    for key in ("imageferry-summary", "imageferry-images"):
        me.page.goto(run)
        me.opens_artifact(key)
        me.sees_no_markup_of(HOSTILE_HOST)
        me.opens_in_the_other_ui()
        me.sees_no_markup_of(HOSTILE_HOST)


def looks_at_what_was_copied(me: Person) -> None:
    """Find the copied images in the table of the run, and the history of one rule."""
    me.page.get_by_test_id("markdown-display").wait_for()
    run = me.page.get_by_text("Flow Run", exact=True).first.locator("xpath=following::a[1]")
    run.click()
    me.opens_artifact("imageferry-images")
    table = me.page.get_by_test_id("table-display")
    for tag in ("v1.0", "v1.1", "v1.2"):
        expect(table.get_by_role("row").filter(has_text=f"{SOURCE}/team/api:{tag}")).to_contain_text("copied")
    expect(table.get_by_role("row").filter(has_text=MISSING)).to_contain_text("failed")
    me.goes_back()
    me.opens_tab("Subflow Runs")
    me.opens(f"{SOURCE}/team/api")
    me.waits_for_the_state("Completed")
    me.opens_artifact("rule-quay-example-team-api")
    expect(me.page.get_by_test_id("table-display").get_by_role("row").nth(1)).to_contain_text("3")
    me.photographs("rule")
