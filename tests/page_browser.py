"""A headless Chromium on the results page: for the browser tests, and for the README's two
pictures.

    python tests/page_browser.py --page results/report/index.html --out docs/figures

draws `page-verdicts.png` and `page-explorer.png`, and prints the page's size and the time until it
could be used. Add `--shots results/page` for pictures of the whole page, narrow and wide, light and
dark."""

import argparse
import shutil
import statistics
import sys
from contextlib import contextmanager
from pathlib import Path

import axe_core_python
from playwright.sync_api import expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WIDTHS = {"narrow": 360, "usual": 1280, "wide": 1600}
LOADS = 5


@contextmanager
def chromium(executable):
    """A browser with an empty profile of its own; Playwright's download is not used."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
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


def scrolled(page):
    """The chart in sight once, for it is drawn when it comes near."""
    page.locator("#chart").scroll_into_view_if_needed()
    expect(page.locator("#chart[data-drawn]")).to_have_count(1, timeout=60_000)
    page.evaluate("scrollTo(0, 0)")


def faults(page):
    """What axe-core finds: rule and first place of each."""
    page.evaluate((Path(axe_core_python.__file__).parent / "axe.min.js").read_text())
    found = page.evaluate("axe.run()")["violations"]
    return [f"{rule['id']}: {rule['nodes'][0]['html']}" for rule in found]


def shots(browser, path, out):
    """The whole page in both widths, light and dark."""
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for scheme in ("light", "dark"):
        for name, width in WIDTHS.items():
            page = opened(browser, path, width=width, scheme=scheme)
            scrolled(page)
            made.append(out / f"{name}-{scheme}.png")
            page.screenshot(path=made[-1], full_page=True)
            page.close()
    return made


def pictures(browser, path, out):
    out.mkdir(parents=True, exist_ok=True)
    page = opened(browser, path, width=1200)
    page.screenshot(path=out / "page-verdicts.png")
    page.set_viewport_size({"width": 1200, "height": 1200})
    page.locator("#hops").scroll_into_view_if_needed()
    expect(page.locator("#hops .main-svg").first).to_be_visible(timeout=60_000)
    page.locator("#explorer").screenshot(path=out / "page-explorer.png")
    page.close()
    return [out / "page-verdicts.png", out / "page-explorer.png"]


def main():
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--page", type=Path, default=Path("results/report/index.html"))
    parser.add_argument("--out", type=Path, help="folder for the README's pictures")
    parser.add_argument("--shots", type=Path, help="folder for pictures of the whole page")
    arguments = parser.parse_args()
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        parser.error("no Chromium here (Debian: .ci/install-system-packages chromium)")
    with chromium(executable) as browser:
        made = pictures(browser, arguments.page, arguments.out) if arguments.out else []
        made += shots(browser, arguments.page, arguments.shots) if arguments.shots else []
        times = [interactive_ms(opened(browser, arguments.page)) for _ in range(LOADS)]
    print(f"{arguments.page}: {arguments.page.stat().st_size / 1e6:.2f} MB")
    listed = ", ".join(f"{t:.0f}" for t in times)
    print(f"interactive after {statistics.median(times):.0f} ms (median of {listed})")
    print("\n".join(map(str, made)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
