"""A person in front of Prefect's UI: what one does there, and what one waits to see."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import Locator, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from testkit.processes import program

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The UI's own page asks others how it is used: no name leads anywhere.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
SIZE = (1280, 800)

# Milliseconds in which a page must show what is asked for, and in which a run must end.
PATIENCE = 20_000
RUN_LIMIT = 90_000

# How often one tries again, and milliseconds for which one looks each time.
TRIES = 8
LOOK = 2_000

# Takes a picture under a name, or does nothing.
Camera = Callable[[Page, str], None]


def no_camera(page: Page, name: str) -> None:
    """Take no picture."""


def chromium() -> str:
    """Find Debian's Chromium. Raises ``MissingProgram``."""
    return program("chromium", package="chromium")


@contextmanager
def browsing(url: str, camera: Camera = no_camera) -> Iterator[Person]:
    """Open Debian's Chromium. Raises ``MissingProgram``."""
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, locale="en-GB")
            page.set_default_timeout(PATIENCE)
            expect.set_options(timeout=PATIENCE)
            home = urlsplit(url).netloc
            page.route(lambda asked: urlsplit(asked).netloc != home, lambda route: route.abort())
            try:
                yield Person(page, url, camera)
            except Exception as error:
                error.add_note(f"The page {page.url} shows:\n{page.inner_text('body')[:3000]}")
                raise
        finally:
            browser.close()


class Person:
    """Goes through the UI by what is written there."""

    def __init__(self, page: Page, url: str, camera: Camera) -> None:
        self.page = page
        self.url = url
        self._camera = camera
        self.asked: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))

    def photographs(self, name: str) -> None:
        """Take a picture of what is seen now."""
        self._camera(self.page, name)

    def opens_the_form_of(self, deployment: str) -> None:
        """Go from the first page to the form of a custom run."""
        page = self.page
        page.goto(self.url)
        page.get_by_role("link", name="Deployments").click()
        page.get_by_role("link", name=deployment, exact=True).click()
        page.get_by_role("button", name="Run").first.click()
        page.get_by_role("menuitem", name="Custom run").click()
        expect(page.get_by_role("button", name="Submit")).to_be_visible()

    def field(self, parameter: str) -> Locator:
        """Return the part of the form that is for a parameter."""
        return self.page.locator("div.group", has=self.page.get_by_text(f"{parameter} (Optional)")).last

    def writes(self, parameter: str, text: str) -> None:
        """Fill a field of text in."""
        self.field(parameter).locator("textarea").fill(text)

    def adds_to(self, parameter: str, text: str) -> None:
        """Turn a field that may be a list into one, of this one text."""
        field = self.field(parameter)
        field.get_by_role("tab", name="list").click()
        field.get_by_role("button", name="Add item").click()
        field.locator("textarea").last.fill(text)

    def submits(self) -> None:
        """Press the form's button, by the key: a message may lie over it. Wait until the form has looked at it all."""
        with self.page.expect_response(lambda answer: "/schemas/validate" in answer.url):
            self.page.get_by_role("button", name="Submit").press("Enter")

    def submits_until_it_is_taken(self) -> None:
        """Press until there is a run: a busy server asks to try again."""
        for _ in range(TRIES):
            try:
                with self.page.expect_request(lambda request: "/create_flow_run" in request.url, timeout=LOOK) as asked:
                    self.submits()
            except PlaywrightTimeout:
                continue
            answer = asked.value.response()
            if answer is not None and answer.ok:
                return
        raise AssertionError("the form makes no run")

    def refusal_of(self, parameter: str) -> Locator:
        """Return the words under a field that is refused."""
        return self.field(parameter).locator("p.text-destructive").last

    def opens_the_run(self) -> None:
        """Go to the page of the run that the form has made."""
        self.page.get_by_text("View run").click()
        self.page.wait_for_url(re.compile("/runs/flow-run/"))
        # A message stays for as long as one points at it.
        self.page.mouse.move(0, 0)

    def waits_for_the_state(self, name: str) -> None:
        """Wait until the page of a run shows its state."""
        expect(self.page.get_by_text(name, exact=True).first).to_be_visible(timeout=RUN_LIMIT)

    def opens_tab(self, name: str) -> None:
        """Turn to a tab of the page."""
        self.page.get_by_role("tab", name=name, exact=True).click()

    def opens(self, name: str) -> None:
        """Follow the link of this name."""
        self.page.get_by_role("link", name=name, exact=True).first.click()

    def opens_artifact(self, key: str) -> None:
        """Go from a run's page to one of its artifacts."""
        self.opens_tab("Artifacts")
        self.page.get_by_role("link").filter(has_text=key).first.click()
        self.page.wait_for_url(re.compile("/artifacts/artifact/"))

    def sees(self, *texts: str) -> None:
        """Wait until all of this is to be seen."""
        for text in texts:
            expect(self.page.get_by_text(text).first).to_be_visible()

    def sees_once_it_is_there(self, text: str) -> None:
        """Wait until this is to be seen, and load the page anew: of a run that has ended its own looks are over."""
        for _ in range(TRIES):
            try:
                self.page.get_by_text(text).first.wait_for(timeout=LOOK)
            except PlaywrightTimeout:
                self.page.reload()
            else:
                return
        self.sees(text)

    def sees_no_markup_of(self, host: str) -> None:
        """Find the text of a hostile registry on the page, and nothing that it could have made of it."""
        self.sees(host)
        addresses = "nodes => nodes.map(node => String(node.getAttribute('href') || node.getAttribute('src')))"
        found = self.page.eval_on_selector_all("a, img", addresses)
        assert [each for each in found if host in each or each.startswith("javascript:")] == []
        assert self.page.get_by_role("heading", name="head").count() == 0
        assert [each for each in self.asked if host in each] == []

    def opens_in_the_other_ui(self) -> None:
        """Open the page of an artifact in the other one of Prefect's two UIs."""
        here = urlsplit(self.page.url).path
        path = here.removeprefix("/v2") if here.startswith("/v2/") else f"/v2{here}"
        self.page.goto(self.url + path)

    def goes_back(self) -> None:
        """Go to the page before."""
        self.page.go_back()
