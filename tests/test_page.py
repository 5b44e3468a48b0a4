"""The results page as a file: self-contained, escaped, with the numbers of the estimates."""

import json
import re

import pytest
import synthetic
from synthetic import HOSTILE, LAPTOP, SERVER, table_of, timed

from workflow.report import LEDGER, claims, estimates, ledger, models, paper
from workflow.report.estimates import select
from workflow.report.layout import short
from workflow.report.page import build, plots
from workflow.report.rules import Verdict

GROUND = "#15181d"  # of the dark page


def page_of(rows, numbers):
    return build.html(numbers, rows, synthetic.judged(rows, numbers), "default")


@pytest.fixture(scope="module")
def page(grid):
    return page_of(*grid)


@pytest.fixture(scope="module")
def data(page):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


def chart_of(rows, name):
    table = table_of(rows)
    charts = plots.all_charts(estimates.build(table), table, {})
    return next(chart for chart in charts if chart["name"] == name)


def test_the_page_is_one_file_that_asks_for_nothing(page):
    """The browser tests see that it does not."""
    markup = re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)
    addresses = re.findall(r"""\b(?:src|href|action)=["']?([^"'\s>]+)""", markup)
    outside = [address for address in addresses if not address.startswith(("#", "data:"))]
    assert outside == ["https://arxiv.org/abs/2508.02631"]  # a link, followed by a reader only
    policy = re.search(r'"Content-Security-Policy" content="([^"]+)"', markup)[1]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert len(page.encode()) < 4_500_000


def test_hostile_text_stays_text(page, data):
    assert page.count("<script") == page.count("</script>") == 4
    assert HOSTILE not in page
    assert HOSTILE in data["looks"]
    panels = [panel for chart in data["charts"] for panel in chart["panels"]]
    names = {trace["name"] for panel in panels for trace in panel["data"]}
    assert plots.shown(HOSTILE) == "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert not [name for name in names if "<" in name]


def test_a_page_of_no_rows_says_what_is_missing():
    rows = table_of([])
    text = page_of(rows, estimates.build(rows))
    for name in ("time", "loss_curves", "hops"):
        assert chart_of([], name)["panels"] == []
    assert "there is no chain to show" in text


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_has_a_card(verdict):
    """Unsound rows too: the page must warn of them, not fail."""
    claim = ledger.read(LEDGER).claims[0]
    line = claims.Line(claim, "F", None, verdict, (), (), "why")
    assert build.card(line, {})["number"] == "–"
    assert build.counts([line]) == [(verdict, str(verdict), 1)]
    assert verdict.name in build.colours()


def test_every_claim_is_a_card_with_its_command(page):
    known = sorted(ledger.read(LEDGER).judged(), key=lambda judged: bool(judged[0].explained))
    names = [f"{claim.id} {name}".strip().replace(" ", "-") for claim, name in known]
    assert re.findall(r'id="claim-([A-Za-z0-9-]+)"', page) == names
    assert len(re.findall(r"data-copy=", page)) == len(known)


def test_every_quantity_of_a_claim_is_shown_somewhere(data):
    quantities = {test.quantity for claim in ledger.read(LEDGER).claims for test in claim.tests}
    assert quantities - {None} <= set(build.CHART_OF)
    names = {chart["name"] for chart in data["charts"]}
    assert set(build.CHART_OF.values()) <= names


def test_charts_hold_the_estimates_beside_the_papers_numbers():
    times = ((512, 400.0), (1024, 410.0))
    rows = [timed(paper.MODEL, n, step, repeat=r) for n, step in times for r in (0, 1)]
    (panel,) = chart_of(rows, "time")["panels"]
    ours, theirs = [t for t in panel["data"] if t["meta"]["model"] == models.title(paper.MODEL)]
    assert ours["x"] == [512, 1024]
    assert ours["y"] == pytest.approx([20 * 512 * 0.4 / 4096, 20 * 1024 * 0.41 / 4096])
    assert ours["error_y"]["array"] == pytest.approx([0, 0], abs=1e-4)  # sessions that agree
    known = paper.training_time()
    assert theirs["name"].endswith(paper.PLACE)
    published = list(known.loc[known["model"] == paper.MODEL, "value"])
    assert theirs["y"] == pytest.approx(published, rel=1e-5)
    assert "Pointer, formula as printed 1.00 at 512 to 2.05 at 1,024" in panel["alt"]


def test_machines_stand_side_by_side_as_ratios(data, grid):
    label = "Pointer, linear (this suite) against transformer, training"
    panel = next(p for p in data["charts"][-1]["panels"] if p["label"] == label)
    assert [trace["name"].partition(",")[0] for trace in panel["data"]][:1] == ["2-core laptop"]
    assert paper.PLACE in panel["data"][-1]["name"]
    asked = {"phase": "training", "against": "transformer", "model": "pointer", "machine": LAPTOP}
    mine = select(grid[1], "speedup", **asked)
    mine = mine[mine["status"] == "ok"].sort_values("x")
    assert panel["data"][0]["y"] == pytest.approx(list(mine["value"]), rel=1e-5)


def test_failures_stand_in_the_rows_and_under_the_charts(data, grid):
    rows = data["tables"][0]
    keys = [title for title, _ in rows["columns"]]
    assert len(rows["lines"]) == len(grid[0])
    bad = [line for line in rows["lines"] if line[keys.index("status")] != "ok"]
    assert len(bad) == (grid[0]["status"] != "ok").sum() > 5
    assert all(line[keys.index("reason")] for line in bad)
    lost = [line for line in data["charts"][0]["failures"] if "DefaultCPUAllocator" in line]
    assert any("the offset table at 2048" in line for line in lost)


def test_hops_by_layer_stand_beside_the_papers(data):
    chart = next(chart for chart in data["charts"] if chart["name"] == "hops")
    panel = next(panel for panel in chart["panels"] if "D=2048" in panel["label"])
    mean, longest = panel["data"]
    assert (mean["x"], mean["y"]) == ([1, 2, 3, 4, 5, 6], [3.5, 41.0, 2048.0, 12.0, 55.5, 1.0])
    assert longest["name"] == f"{mean['name']}, longest hop"
    assert [shape["y0"] for shape in panel["shapes"]] == [47, 58, 483]


def test_marks_stand_out_on_both_pages():
    """WCAG 2.1, 1.4.11: at least 3 to 1."""
    assert plots.contrast("#ffffff", "#000000") == pytest.approx(21)
    for colour in (*models.COLOURS, *models.GREYS):
        shown = plots.on_page(colour)
        assert plots.contrast(shown["light"], "#ffffff") >= 3
        assert plots.contrast(shown["dark"], GROUND) >= 3


def test_no_panel_of_absolute_numbers_mixes_machines(data):
    for name in ("time", "throughput", "inference"):
        chart = next(chart for chart in data["charts"] if chart["name"] == name)
        labels = [panel["label"] for panel in chart["panels"]]
        names = short(SERVER), LAPTOP
        assert [sum(name in label for name in names) for label in labels] == [1, 1]
