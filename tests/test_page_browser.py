"""The page in a real browser: it loads without an error or a request, and every control works."""

import csv
import json
import re
from itertools import pairwise

import pytest
import synthetic
from synthetic import HOSTILE, TEXNICAL

pytest.importorskip("playwright", reason="no Playwright here (pip install -e '.[test]')")

from page_browser import chromium, faults, opened
from playwright.sync_api import expect

from workflow.report import claims, ledger, models, render
from workflow.report.page import build

pytestmark = pytest.mark.browser
DISTANCE, LAYERS, HEADS = 2048, 6, 2
LENGTH = DISTANCE + 128
INSIDE = ("file:///", "data:", "blob:")
LINEAR, FORMULA = models.title("pointer"), models.title("pointer-formula")
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="40"><rect width="20" height="30"/></svg>'


@pytest.fixture(scope="module")
def path(tmp_path_factory, grid):
    """The page of synthetic rows: every status, two machines, hostile names, two traces."""
    folder = tmp_path_factory.mktemp("page")
    rows, numbers = grid
    lines = synthetic.judged(rows, numbers)
    render.write(claims.table(lines), folder)
    drawn = folder / "time.svg"
    drawn.write_text(SVG, encoding="utf-8")
    page = folder / "index.html"
    page.write_text(build.html(numbers, rows, lines, "default", [drawn]), encoding="utf-8")
    return page


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser, path):
    """A page whose test fails where the console says anything or a request leaves the file."""
    said = []
    context = browser.new_context(viewport={"width": 1600, "height": 900}, accept_downloads=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown = context.new_page()
    shown.on("console", lambda it: said.extend([it.text] * (it.type in ("error", "warning"))))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
    shown.on("request", lambda it: said.extend([it.url] * (not it.url.startswith(INSIDE))))
    shown.goto(path.as_uri())
    shown.wait_for_selector("html[data-ready=yes]", timeout=60_000)
    yield shown
    context.close()
    assert said == []


def rows_of(page):
    """Unfold the rows' table."""
    page.locator("#table-rows > summary").click()
    rows = page.locator("#table-rows")
    expect(rows.locator(".dt-info")).to_be_visible(timeout=30_000)
    return rows


def traces(page, name):
    figure = page.locator("#chart .plot")
    figure.scroll_into_view_if_needed()
    expect(page.locator("#chart[data-drawn]")).to_have_count(1, timeout=30_000)
    page.locator("#chart-name").select_option(name)
    expect(page.locator(f"#chart[data-drawn={name}]")).to_have_count(1, timeout=30_000)
    return figure.evaluate("p => p.data.map(t => ({...t.meta, visible: t.visible}))")


def column(page, title):
    """The cells of a column of the rows' table, as shown."""
    headings = page.locator("#table-rows thead th").all_inner_texts()
    place = [heading.strip() for heading in headings].index(title) + 1
    return page.locator(f"#table-rows tbody td:nth-child({place})").all_inner_texts()


def test_every_chart_is_drawn(page):
    charts = json.loads(page.locator("#data").text_content() or "")["charts"]
    names = [chart["name"] for chart in charts if chart["panels"]]
    assert len(names) == 11
    for name in names:
        assert traces(page, name)
        assert len(page.locator("#chart .plot").get_attribute("aria-label") or "") > 40


def test_rows_are_searched_and_downloaded_as_they_are(page, tmp_path):
    rows = rows_of(page)
    rows.locator("input[type=search]").fill("diverged")
    assert set(column(page, "status")) == {"diverged"}
    with page.expect_download() as download:
        rows.get_by_role("button", name="CSV of these lines").click()
    download.value.save_as(tmp_path / "rows.csv")
    text = (tmp_path / "rows.csv").read_text(encoding="utf-8-sig")
    (line,) = csv.DictReader(text.splitlines())
    known = {"model": "pointer-dense", "status": "diverged", "reason": "loss is NaN at step 17"}
    assert line.items() >= (known | {"accuracy": ""}).items()  # missing, not a dash


def test_a_row_tells_its_origin_by_keyboard(page):
    rows_of(page).locator(".info").first.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("#provenance")
    expect(dialog).to_be_visible()
    for part in ("python -m workflow.bench run", "git commit", "0000000", "torch 2.13.0"):
        expect(dialog).to_contain_text(part)
    page.locator("#copy-command").click()
    expect(page.locator("#copy-command")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "python -m workflow.bench run"
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()


def test_a_point_and_a_line_of_a_table_lead_to_their_rows(page):
    traces(page, "speedup")
    click = "p => p.emit('plotly_click', {points: [{customdata: p.data[0].customdata[0]}]})"
    page.locator("#chart .plot").evaluate(click)
    expect(page.locator("#origins details")).to_have_count(6)  # three repeats and their partners
    page.keyboard.press("Escape")
    page.locator("#table-copy_accuracy summary").click()
    page.locator("#table-copy_accuracy .info").first.click()
    expect(page.locator("#origins details")).to_have_count(12)  # four distances, three seeds
    page.locator("#origins summary").first.click()
    expect(page.locator("#origins dd").first).to_be_visible()


def test_a_folded_table_opens_from_its_link_with_its_numbers(page, tmp_path):
    traces(page, "speedup")
    page.locator("#chart .note a").click()
    expect(page.locator("#table-speedup tbody tr").first).to_be_visible()
    with page.expect_download() as download:
        page.locator("#table-speedup").get_by_role("button", name="CSV, all columns").click()
    download.value.save_as(tmp_path / "speedup.csv")
    traces(page, "memory")  # whose table is folded under "More tables"
    page.locator("#chart .note a").click()
    expect(page.locator("#table-memory tbody tr").first).to_be_visible()
    assert (tmp_path / "speedup.csv").read_text().startswith("quantity,")


def test_the_legend_shows_and_hides_models_in_all_charts_and_the_address(page):
    def visible(name):
        return {t["model"] for t in traces(page, name) if t["visible"] is True}

    assert visible("time") == {LINEAR, FORMULA, "transformer"}
    page.locator("#chart .legend .traces", has_text=LINEAR).locator(".legendtoggle").click()
    expect(page).to_have_url(re.compile("models="))
    assert visible("throughput") == {FORMULA, "transformer"}
    page.reload()
    page.wait_for_selector("html[data-ready=yes]", timeout=60_000)
    assert page.locator("#chart-name").input_value() == "throughput"
    assert visible("throughput") == {FORMULA, "transformer"}


def test_a_chart_has_axes_and_machines_to_choose(page):
    traces(page, "time")
    kinds = "p => [p.layout.xaxis.type, p.layout.yaxis.type]"
    plot = page.locator("#chart .plot")
    assert plot.evaluate(kinds) == ["log", "log"]
    page.locator("#chart [data-log=y]").uncheck()
    assert plot.evaluate(kinds) == ["log", "linear"]
    page.locator("#chart [data-log=y]").check()
    assert plot.evaluate(kinds) == ["log", "log"]
    highest = "p => Math.max(...p.data[0].y)"
    first = plot.evaluate(highest)
    page.locator("#panel").select_option(value="1")
    slower, faster = sorted((first, plot.evaluate(highest)), reverse=True)
    assert slower == pytest.approx(faster * 1.7, rel=1e-3)


def chain(position, head=0):
    """The positions that the written trace visits from the top layer down."""
    visited = [position]
    for layer in reversed(synthetic.trace(DISTANCE, HEADS)["targets"]):
        visited.append(layer[head][visited[-1]])
    return visited


def steps(page):
    return page.locator("#steps li").all_inner_texts()


def told(position, head=0):
    hops = enumerate(pairwise(chain(position, head)))
    return [f"layer {LAYERS - n}: {a} → {b}, hop {a - b:,}" for n, (a, b) in hops]


def test_a_click_lights_the_chain_of_its_position(page):
    drawing = page.locator("#chain svg")
    drawing.scroll_into_view_if_needed()
    assert steps(page) == told(LENGTH - 1)
    box = drawing.bounding_box()
    page.mouse.click(box["x"] + 62 + 0.97 * (box["width"] - 78), box["y"] + 40)
    position = int(page.locator("#position").input_value())
    a_pixel = LENGTH / (box["width"] - 78)  # the browser gives whole pixels
    assert position == pytest.approx(0.97 * (LENGTH - 1), abs=1 + a_pixel)
    assert steps(page) == told(position)
    root = chain(position)[-1]
    asked = f"asks for the symbol of position {position - DISTANCE}"
    for words in (f"ends at position {root} (symbol {root * root % 20})", asked):
        expect(page.locator("#origin")).to_contain_text(words)
    page.locator("#head").select_option(index=1)  # by value, a label "1" would match too
    assert steps(page) == told(position, 1)


def test_the_explorer_works_from_the_keyboard(page):
    page.locator("#arcs svg").focus()
    moves = {"ArrowLeft": LENGTH - 2, "Shift+ArrowLeft": LENGTH - 18, "Home": 0, "End": LENGTH - 1}
    for key, expected in moves.items():
        page.keyboard.press(key)
        assert int(page.locator("#position").input_value()) == expected
        assert steps(page) == told(expected)
    layer = int(page.locator("#layer").input_value())
    page.keyboard.press("ArrowUp")
    assert int(page.locator("#layer").input_value()) == layer + 1
    assert page.locator("#steps li.is").inner_text().startswith(f"layer {layer + 1}:")
    slider = page.locator("#arcs svg")
    assert slider.get_attribute("aria-valuenow") == str(LENGTH - 1)
    assert "points at position" in str(slider.get_attribute("aria-valuetext"))
    for _ in range(20):
        page.keyboard.press("-")
    assert page.locator("#zoom-is").inner_text() == f"0 to {LENGTH - 1}"
    page.keyboard.press("ArrowLeft")
    assert steps(page) == told(LENGTH - 2)


def test_verdicts_can_be_picked_and_lead_to_their_commands_and_rows(page):
    chosen = page.locator(".count").first
    kind = chosen.get_attribute("data-words")
    chosen.click()
    words = "cards => cards.map(card => card.dataset.words)"
    kinds = page.locator(".card:visible").evaluate_all(words)
    assert set(kinds) == {kind}
    chosen.click()
    assert page.locator(".card:visible").count() > len(kinds)
    page.locator("#claim-speed-2048-L > summary").click()
    page.locator("#claim-speed-2048-L [data-copy]").click()
    expect(page.locator("#claim-speed-2048-L [data-copy]")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == ledger.COMMAND
    page.locator("#claim-copy-95-L > summary").click()
    page.locator("#claim-copy-95-L").get_by_text("its rows").click()
    expect(page.locator("#origins details")).to_have_count(12)
    commands = page.locator("#origins summary").all_inner_texts()
    assert commands == 12 * ["python -m workflow.bench run"]


def test_hostile_names_are_shown_as_they_are(page):
    traces(page, "time")
    legend = page.locator("#chart .legendtext").all_text_contents()
    assert HOSTILE in legend
    looks = json.loads(page.locator("#data").text_content() or "")["looks"]
    assert TEXNICAL in looks
    rows = rows_of(page)
    rows.get_by_role("button", name="Add filter").click()
    criteria = rows.locator(".dtsb-criteria").last
    criteria.locator(".dtsb-data").select_option(label="model")
    criteria.locator(".dtsb-condition").select_option(label="Equals")
    criteria.locator(".dtsb-value:enabled").first.select_option(label=HOSTILE)
    expect(rows.locator(".dt-info")).to_contain_text("filtered from")
    assert set(column(page, "model")) == {HOSTILE}
    names = page.locator("#chart .plot").evaluate("p => p.data.map(t => t.name)")
    assert HOSTILE.replace("<", "&lt;").replace(">", "&gt;") in names
    assert page.locator("script:not([src])").count() == 4


def test_the_table_of_verdicts_fits_a_screen(browser, path):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(path.with_name("claims.html").as_uri())
    box = page.locator(".scroll")
    assert box.evaluate("box => box.scrollWidth <= box.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280, 1600])
def test_the_page_fits_its_width(browser, path, width, scheme):
    page = opened(browser, path, width=width, scheme=scheme)
    page.locator("#chart").scroll_into_view_if_needed()
    expect(page.locator("#chart[data-drawn]")).to_have_count(1, timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 29)"}[scheme]
    ink = page.locator("#chart .plot").evaluate("p => p.layout.font.color")
    assert ink == {"light": "#1d2127", "dark": "#e8eaed"}[scheme]
    assert faults(page) == []
    page.close()
