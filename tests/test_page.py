"""The results page as a file: self-contained, escaped, with the numbers of the estimates."""

import base64
import gzip
import json
import re
from html.parser import HTMLParser

import pytest
import synthetic
from synthetic import HOSTILE, LAPTOP, SERVER, copied, failed, table_of, timed, traced

from workflow.report import LEDGER, claims, estimates, frame, ledger, models, paper
from workflow.report.__main__ import main
from workflow.report.estimates import select
from workflow.report.page import build, explorer, plots
from workflow.report.rules import Verdict

BREAKOUT = "</script><script>alert(2)</script>"
GROUND = "#15181d"  # of the dark page


def page_of(rows, numbers=None, tier="default"):
    numbers = estimates.build(rows) if numbers is None else numbers
    return build.html(numbers, rows, synthetic.judged(numbers, rows, tier), tier)


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Rows of every kind, with traces, and two that try to break out of a script."""
    hostile = [copied(BREAKOUT, 512, 0.2), failed("error", BREAKOUT, machine=BREAKOUT)]
    rows = synthetic.grid() + hostile
    folder = tmp_path_factory.mktemp("page")
    return frame.collect(synthetic.store(rows, folder), folder)


@pytest.fixture(scope="module")
def numbers(grid):
    return estimates.build(grid)


@pytest.fixture(scope="module")
def page(grid, numbers):
    return page_of(grid, numbers)


@pytest.fixture(scope="module")
def data(page):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


class Scripts(HTMLParser):
    """The text of every script element, by type, and every address that the page names."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.scripts = []
        self.addresses = []
        self.policy = ""
        self._type = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self._type = given.get("type") or "code" if tag == "script" else None
        links = ("src", "href", "data", "action")
        self.addresses += [str(given[key]) for key in links if given.get(key)]
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(given["content"])
        assert not [key for key in given if key.startswith("on")], "a handler in an attribute"

    def handle_endtag(self, tag):
        self._type = None

    def handle_data(self, data):
        if self._type:
            self.scripts.append((self._type, data))


def chart_of(rows, name):
    table = table_of(rows)
    charts = plots.all_charts(estimates.build(table), table, {})
    return next(chart for chart in charts if chart["name"] == name)


def test_the_page_is_one_file_that_asks_for_nothing(page):
    parsed = Scripts(page)
    outside = [a for a in parsed.addresses if not a.startswith(("#", "data:"))]
    assert outside == ["https://arxiv.org/abs/2508.02631"]  # a link, followed by a reader only
    assert "default-src 'none'" in parsed.policy
    assert "http" not in parsed.policy
    assert len(page.encode()) < 4_500_000


def test_hostile_text_stays_text(page, data):
    kinds = [kind for kind, _ in Scripts(page).scripts]
    assert kinds == ["application/json", "text/plain", "text/plain", "code"]
    assert HOSTILE not in page
    assert BREAKOUT not in page
    assert {HOSTILE, BREAKOUT} <= set(data["looks"])
    panels = [panel for chart in data["charts"] for panel in chart["panels"]]
    names = {trace["name"] for panel in panels for trace in panel["data"]}
    assert plots.shown(HOSTILE) == "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert not [name for name in names if "<" in name]


def test_the_same_rows_give_the_same_page(grid, page):
    assert page_of(grid) == page


def test_smoke_rows_give_no_verdict(grid, numbers, page):
    smoke = page_of(grid, numbers, "smoke")
    assert 'id="smoke"' in smoke
    assert 'id="smoke"' not in page
    assert set(re.findall(r'data-words="([^"]+)" aria-pressed', smoke)) == {Verdict.SMOKE}


def test_a_page_of_rows_that_cannot_stand_side_by_side_says_so():
    first = timed("pointer", 512, 30.0)
    same = {key: first[key] for key in ("started", "ended")}
    rows = [first, timed("longformer", 512, 50.0, repeat=1, **same)]
    text = page_of(table_of(rows))
    assert set(re.findall(r'data-words="([^"]+)" aria-pressed', text)) == {Verdict.UNSOUND}


def test_a_page_of_no_rows_says_what_is_missing():
    text = page_of(table_of([]))
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


def test_plotly_accepts_every_chart(data):
    from plotly import graph_objects

    empty = [chart["name"] for chart in data["charts"] if not chart["panels"]]
    assert empty == ["mqar", "recall"]  # the grid has no such row
    for panel in (panel for chart in data["charts"] for panel in chart["panels"]):
        traces = [{k: v for k, v in trace.items() if k != "meta"} for trace in panel["data"]]
        figure = graph_objects.Figure(data=traces, layout={"shapes": panel["shapes"]})
        assert len(figure.data) == len(panel["data"]) > 0
        assert panel["y"]


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


def test_each_task_is_drawn_in_percent_over_its_sizes():
    keys = {"experiment": "mqar", "model": "transformer", "distance": 512, "accuracy": 0.9}
    rows = [copied(**keys, pairs=n, length=16 * n) for n in (4, 16)]
    rows.append(copied(**keys | {"experiment": "induction", "length": 256}))
    panels = {p["label"].partition(",")[0]: p for p in chart_of(rows, "recall")["panels"]}
    assert set(panels) == {"mqar by pairs", "induction by length N"}
    series = panels["mqar by pairs"]["data"][0]
    assert (series["x"], series["y"]) == ([4, 16], pytest.approx([90.0, 90.0]))


def test_no_panel_of_absolute_numbers_mixes_machines(data):
    for name in ("time", "throughput", "inference"):
        chart = next(chart for chart in data["charts"] if chart["name"] == name)
        labels = [panel["label"] for panel in chart["panels"]]
        assert [sum(machine in label for machine in (SERVER, LAPTOP)) for label in labels] == [1, 1]


def test_machines_stand_side_by_side_as_ratios(data, numbers):
    label = "Pointer, linear (this suite) against transformer, training"
    panel = next(p for p in data["charts"][-1]["panels"] if p["label"] == label)
    assert [trace["name"].partition(",")[0] for trace in panel["data"]][:1] == ["2-core laptop"]
    assert paper.PLACE in panel["data"][-1]["name"]
    asked = {"phase": "training", "against": "transformer", "model": "pointer", "machine": LAPTOP}
    mine = select(numbers, "speedup", **asked)
    mine = mine[mine["status"] == "ok"].sort_values("x")
    assert panel["data"][0]["y"] == pytest.approx(list(mine["value"]), rel=1e-5)


def test_failures_stand_in_the_rows_and_under_the_charts(data, grid):
    rows = data["tables"][0]
    keys = [title for title, _ in rows["columns"]]
    assert len(rows["lines"]) == len(grid)
    bad = [line for line in rows["lines"] if line[keys.index("status")] != "ok"]
    assert len(bad) == (grid["status"] != "ok").sum() > 5
    assert all(line[keys.index("reason")] for line in bad)
    lost = [line for line in data["charts"][0]["failures"] if "DefaultCPUAllocator" in line]
    assert any("the offset table at 2048" in line for line in lost)


def test_every_number_leads_to_its_rows(data, grid):
    """A point and a line of a table know the rows of their cell, with the reference for a ratio."""
    rows = grid.to_dict("records")
    panel = next(chart for chart in data["charts"] if chart["name"] == "speedup")["panels"][0]
    trace = next(trace for trace in panel["data"] if trace["meta"]["model"] == "longformer")
    behind = [rows[number] for number in trace["customdata"][0]]
    assert {row["model"] for row in behind} == {"longformer", "transformer"}
    assert {row["length"] for row in behind} == {trace["x"][0]}
    assert len(behind) == 6
    table = next(table for table in data["tables"] if table["name"] == "throughput")
    place = [title for title, _ in table["columns"]].index("model")
    line = next(n for n, cells in enumerate(table["lines"]) if cells[place] == "longformer")
    assert {rows[number]["model"] for number in table["rows"][line]} == {"longformer"}
    assert len(table["rows"][line]) == 12


def test_chains_come_from_the_trace_beside_the_row(grid):
    found = explorer.traced(grid)
    assert [entry["distance"] for entry in found["models"]] == [2048, 512]
    packed = base64.b64decode(found["models"][0]["packed"])
    content, written = json.loads(gzip.decompress(packed)), synthetic.trace(2048)
    assert content["tokens"] == written["tokens"]
    assert [i - hop for i, hop in enumerate(content["hops"][2][1])] == written["targets"][2][1]
    assert any("error. RuntimeError: no trace for this model" in line for line in found["left_out"])


def test_a_trace_that_points_ahead_is_left_out_with_its_reason(tmp_path):
    rows = frame.collect(synthetic.store([traced(512), traced(1024)], tmp_path), tmp_path)
    ahead = tmp_path / "0.trace.json"
    ahead.write_text(json.dumps({"targets": [[[0, 2, 2]]]}))
    (tmp_path / "1.trace.json").unlink()
    found = explorer.traced(rows)
    assert found["models"] == []
    reasons = [line.rpartition(": ")[2] for line in found["left_out"]]
    ahead_reason = "its trace holds targets that are no earlier positions"
    assert reasons == ["no trace lies beside its row", ahead_reason]


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


def test_a_missing_figure_is_named(tmp_path, capsys):
    rows, numbers = tmp_path / "rows.parquet", tmp_path / "estimates.parquet"
    table = table_of([timed("pointer", 512, 400.0)])
    table.to_parquet(rows)
    estimates.write(table, tmp_path)
    page = tmp_path / "report" / "index.html"
    figure = tmp_path / "figures" / "time.svg"
    assert main(["make", str(page), "--from", str(rows), str(numbers), str(figure)]) == 2
    assert "a figure that is drawn" in capsys.readouterr().err
    assert not page.exists()
