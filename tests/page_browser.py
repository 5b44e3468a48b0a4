"""A headless Chromium on the results page: for the browser tests, and for `.ci/draw-page`."""

from contextlib import contextmanager
from pathlib import Path

import axe_core_python
from conftest import chromium_path
from playwright.sync_api import sync_playwright

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@contextmanager
def chromium():
    """A browser with an empty profile of its own; Playwright's download is not used."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def opened(browser, path, *, width=1600, scheme="light"):
    """The page, ready to be used, in a window of its own."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(path.resolve().as_uri())
    page.wait_for_selector("html[data-ready=yes]", timeout=60_000)
    return page


def faults(page):
    page.evaluate((Path(axe_core_python.__file__).parent / "axe.min.js").read_text())
    found = page.evaluate("axe.run()")["violations"]
    return [f"{rule['id']}: {rule['nodes'][0]['html']}" for rule in found]
