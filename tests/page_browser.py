"""A headless Chromium on the results page: for the browser tests, and for the README's pictures.

    python tests/page_browser.py --page results/report/index.html --out docs/figures

draws `page-verdicts.png` and `page-explorer.png`, and prints the page's size and the time until it
could be used."""

import argparse
import statistics
from contextlib import contextmanager
from pathlib import Path

import axe_core_python
from conftest import chromium_path, no_browser
from playwright.sync_api import sync_playwright

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
LOADS = 5


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


def interactive_ms(page):
    """Milliseconds from the start of loading until tables, chains and controls worked."""
    return float(page.evaluate("performance.getEntriesByName('interactive')[0].startTime"))


def faults(page):
    page.evaluate((Path(axe_core_python.__file__).parent / "axe.min.js").read_text())
    found = page.evaluate("axe.run()")["violations"]
    return [f"{rule['id']}: {rule['nodes'][0]['html']}" for rule in found]


def draw(browser, path, out):
    out.mkdir(parents=True, exist_ok=True)
    page = opened(browser, path, width=1200)
    page.screenshot(path=out / "page-verdicts.png")
    page.set_viewport_size({"width": 1200, "height": 1200})
    page.locator("#explorer").screenshot(path=out / "page-explorer.png")
    page.close()


def main():
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--page", type=Path, default=Path("results/report/index.html"))
    parser.add_argument("--out", type=Path, required=True, help="folder for the README's pictures")
    arguments = parser.parse_args()
    if no_browser():
        parser.error(no_browser())
    with chromium() as browser:
        draw(browser, arguments.page, arguments.out)
        times = [interactive_ms(opened(browser, arguments.page)) for _ in range(LOADS)]
    print(f"{arguments.page}: {arguments.page.stat().st_size / 1e6:.2f} MB")
    listed = ", ".join(f"{t:.0f}" for t in times)
    print(f"interactive after {statistics.median(times):.0f} ms (median of {listed})")


if __name__ == "__main__":
    main()
